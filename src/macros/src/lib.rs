//! The attribute that documents an operation of the API where its handler stands.

use proc_macro::TokenStream;
use quote::{format_ident, quote};
use syn::{
    Attribute, Error, Expr, ExprLit, Ident, ItemFn, Lit, Meta, Token, bracketed,
    parse::Parser as _, parse_macro_input, punctuated::Punctuated, spanned::Spanned as _,
};

/// Documents a handler in the `OpenAPI` document: the operation id is the function's name, the summary is the first
/// paragraph of its doc comment, the description is the rest.
///
/// `tag` names a variant of `ApiTag`. `scope` names a variant of `Scope`, which a key must have, or is `any` for an
/// operation that every key allows, or `none` for one without a key. `problems` lists variants of `ProblemKind` that the handler answers with itself;
/// extractors and responses document their own.
///
/// The handler itself stays as it is. Beside it appears the function `<handler>_operation`, which the routes pass to
/// aide:
///
/// ```text
/// /// Delete a webhook
/// ///
/// /// Deletes the webhook and its pending messages.
/// #[operation(tag = Webhooks, scope = Manage, problems = [WebhookConfigured])]
/// async fn delete_webhook(Path(id): Path<WebhookId>) -> Result<NoContent, Problem> { … }
///
/// ApiRouter::new().api_route("/webhooks/{webhookId}", delete_with(delete_webhook, delete_webhook_operation))
/// ```
#[proc_macro_attribute]
pub fn operation(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let handler = parse_macro_input!(item as ItemFn);
    match expand(arguments, &handler) {
        Ok(docs) => quote! { #handler #docs }.into(),
        Err(error) => {
            let error = error.into_compile_error();
            quote! { #handler #error }.into()
        }
    }
}

/// The function that adds the documentation to aide's operation.
fn expand(arguments: TokenStream, handler: &ItemFn) -> syn::Result<proc_macro2::TokenStream> {
    let arguments = Arguments::parse(arguments)?;
    let (summary, description) = summary_and_description(&handler.attrs).ok_or_else(|| {
        Error::new(
            handler.sig.span(),
            "an operation needs a doc comment: a summary, an empty line and a description",
        )
    })?;
    let id = handler.sig.ident.to_string();
    let name = format_ident!("{}_operation", handler.sig.ident);
    let Arguments {
        tag,
        scope,
        problems,
    } = arguments;
    let key = if scope == "none" {
        quote! { None }
    } else if scope == "any" {
        quote! { Any }
    } else {
        quote! { With(crate::access::Scope::#scope) }
    };
    Ok(quote! {
        fn #name(
            operation: ::aide::transform::TransformOperation<'_>,
        ) -> ::aide::transform::TransformOperation<'_> {
            crate::http::openapi::OperationDocs {
                id: #id,
                tag: crate::http::openapi::ApiTag::#tag,
                key: crate::http::openapi::NeededKey::#key,
                summary: #summary,
                description: #description,
                problems: &[#(crate::http::problem::ProblemKind::#problems),*],
            }
            .apply(operation)
        }
    })
}

/// The arguments of the attribute.
struct Arguments {
    tag: Ident,
    scope: Ident,
    problems: Vec<Ident>,
}

impl Arguments {
    fn parse(arguments: TokenStream) -> syn::Result<Self> {
        let (mut tag, mut scope) = (None, None);
        let mut problems = Vec::new();
        let parser = syn::meta::parser(|argument| {
            if argument.path.is_ident("tag") {
                tag = Some(argument.value()?.parse()?);
            } else if argument.path.is_ident("scope") {
                scope = Some(argument.value()?.parse()?);
            } else if argument.path.is_ident("problems") {
                let value = argument.value()?;
                let list;
                bracketed!(list in value);
                let kinds = Punctuated::<Ident, Token![,]>::parse_terminated(&list)?;
                problems.extend(kinds);
            } else {
                return Err(argument.error("expected `tag`, `scope` or `problems`"));
            }
            Ok(())
        });
        parser.parse(arguments)?;
        let missing = |name: &str| {
            let message = format!("an operation needs a `{name}`");
            Error::new(proc_macro2::Span::call_site(), message)
        };
        Ok(Self {
            tag: tag.ok_or_else(|| missing("tag"))?,
            scope: scope.ok_or_else(|| missing("scope"))?,
            problems,
        })
    }
}

/// The first paragraph of a doc comment and the paragraphs after it, if both exist. Lines of a paragraph are joined.
fn summary_and_description(attributes: &[Attribute]) -> Option<(String, String)> {
    let mut paragraphs = vec![String::new()];
    for line in attributes.iter().filter_map(doc_line) {
        let line = line.trim();
        let last = paragraphs.last_mut()?;
        if !line.is_empty() {
            if !last.is_empty() {
                last.push(' ');
            }
            last.push_str(line);
        } else if !last.is_empty() {
            paragraphs.push(String::new());
        }
    }
    let (summary, description) = paragraphs.split_first()?;
    let description = description.join("\n\n").trim_end().to_owned();
    (!summary.is_empty() && !description.is_empty()).then(|| (summary.clone(), description))
}

/// The text of `#[doc = "…"]`, which is what a doc comment's line is to the compiler.
fn doc_line(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(pair) = &attribute.meta else {
        return None;
    };
    match &pair.value {
        Expr::Lit(ExprLit {
            lit: Lit::Str(text),
            ..
        }) if pair.path.is_ident("doc") => Some(text.value()),
        _ => None,
    }
}
