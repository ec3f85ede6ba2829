//! What a client prefers: `Accept` and `Accept-Encoding` (RFC 9110, section 12.4.2).

use axum::http::{HeaderMap, HeaderName};

/// One of the values that a client accepts.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Preference {
    /// Without parameters, in lower case.
    pub(crate) value: String,
    /// The parameter `version`.
    pub(crate) version: Option<String>,
    /// From 0, not accepted, to 1. 1 unless the client says otherwise, 0 if it says what is no number.
    pub(crate) weight: f32,
}

/// What a request prefers, in the order in which it says so. The header may be there several times.
pub(crate) fn preferences(
    request: &HeaderMap,
    header: HeaderName,
) -> impl Iterator<Item = Preference> {
    request
        .get_all(header)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(preference)
}

fn preference(element: &str) -> Preference {
    let mut parts = element.split(';').map(str::trim);
    let value = parts.next().unwrap_or_default().to_ascii_lowercase();
    let (mut version, mut weight) = (None, 1.0);
    for (name, parameter) in parts.filter_map(|part| part.split_once('=')) {
        match name.trim().to_ascii_lowercase().as_str() {
            "q" => weight = parameter.trim().parse().unwrap_or(0.0),
            "version" => version = Some(parameter.trim().trim_matches('"').to_owned()),
            _ => {}
        }
    }
    Preference {
        value,
        version,
        weight,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, header};

    use super::*;

    #[test]
    fn preferences_have_values_versions_and_weights() {
        let mut request = HeaderMap::new();
        for value in [
            "Text/HTML , a/b; version=\"1.0.0\"; q=0.5",
            "c/d;Q=0,e/f; q=much,*/*;q = 0.1",
        ] {
            request.append(header::ACCEPT, HeaderValue::from_static(value));
        }
        let found: Vec<_> = preferences(&request, header::ACCEPT)
            .map(|it| (it.value, it.version, it.weight))
            .collect();
        let expected = [
            ("text/html", None, 1.0),
            ("a/b", Some("1.0.0"), 0.5),
            ("c/d", None, 0.0),
            ("e/f", None, 0.0),
            ("*/*", None, 0.1),
        ]
        .map(|(value, version, weight)| (value.to_owned(), version.map(str::to_owned), weight));
        assert_eq!(found, expected);
    }
}
