//! The documentation of one operation.

use aide::{generate::in_context, transform::TransformOperation};

use super::{base::KEY, problems::document_problems, tag::ApiTag};
use crate::{access::Scope, http::problem::ProblemKind};

/// What a key must allow, if keys are required.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NeededKey {
    /// The operation needs no key.
    None,
    /// The operation needs a key, whatever it allows.
    Any,
    /// The operation needs a key with this scope.
    With(Scope),
}

/// The documentation of one operation. The attribute `#[operation]` makes it from the handler's doc comment.
pub(crate) struct OperationDocs {
    /// The operation id: the handler's name.
    pub(crate) id: &'static str,
    pub(crate) tag: ApiTag,
    pub(crate) key: NeededKey,
    pub(crate) summary: &'static str,
    pub(crate) description: &'static str,
    /// Problems beside those that the operation's extractors and its response document.
    pub(crate) problems: &'static [ProblemKind],
}

impl OperationDocs {
    /// Adds the documentation to the operation.
    pub(crate) fn apply(self, operation: TransformOperation<'_>) -> TransformOperation<'_> {
        let mut operation = operation
            .id(self.id)
            .tag(self.tag.name())
            .summary(self.summary)
            .description(self.description);
        operation = match self.key {
            NeededKey::None => operation,
            NeededKey::Any => operation.security_requirement(KEY),
            NeededKey::With(scope) => operation.security_requirement_scopes(KEY, [scope.as_str()]),
        };
        in_context(|ctx| document_problems(ctx, operation.inner_mut(), self.problems));
        operation
    }
}
