//! The refusals of this module in the `OpenAPI` document.

use aide::{
    generate::in_context,
    openapi::{OpenApi, Operation, ReferenceOr},
    util::iter_operations_mut,
};

use crate::http::{media_type::PROBLEM_JSON, openapi::document_problems, problem::ProblemKind};

/// Documents how an operation may be refused, if it answers with problems or needs a key; for the others the introduction
/// does. `waiting` tells by its path whether an operation waits for a vehicle, and so is refused to pages of other sites
/// whatever its method is.
pub(in crate::http) fn document_refusals(document: &mut OpenApi, waiting: impl Fn(&str) -> bool) {
    for (path, item) in document.paths.iter_mut().flat_map(|paths| &mut paths.paths) {
        let Some(item) = item.as_item_mut() else {
            continue;
        };
        for (method, operation) in iter_operations_mut(item) {
            if !answers_with_problems(operation) && operation.security.is_empty() {
                continue;
            }
            let mut kinds = vec![ProblemKind::MisdirectedRequest];
            if !operation.security.is_empty() {
                kinds.extend([
                    ProblemKind::Unauthenticated,
                    ProblemKind::MissingScope,
                    ProblemKind::TooManyWrongKeys,
                    ProblemKind::StoreUnavailable,
                ]);
            }
            if waiting(path) || !["get", "head"].contains(&method) {
                kinds.insert(0, ProblemKind::CrossOrigin);
            }
            in_context(|ctx| document_problems(ctx, operation, &kinds));
        }
    }
}

fn answers_with_problems(operation: &Operation) -> bool {
    let responses = operation
        .responses
        .iter()
        .flat_map(|it| it.responses.values());
    responses
        .filter_map(ReferenceOr::as_item)
        .any(|response| response.content.contains_key(PROBLEM_JSON))
}
