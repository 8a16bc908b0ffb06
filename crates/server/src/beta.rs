//! The `anthropic-beta` header: which names exist, and which one a route needs.

use api::errors::Error;
use axum::http::HeaderMap;
use axum::http::HeaderName;

use crate::error::Failure;

/// The name that every route of this API needs, models excepted.
pub(crate) const MANAGED_AGENTS: &str = "managed-agents-2026-04-01";
/// The header.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("anthropic-beta");

/// Every name that the official clients know. Sorted, for the search.
const KNOWN: [&str; 58] = [
    "admin-user-sign-out-2026-10-08",
    "advisor-tool-2026-03-01",
    "agent-memory-2026-07-22",
    "analytics-usage-cost-2026-08-24",
    "cache-diagnosis-2026-04-07",
    "ce-claude-code-managed-settings-2026-10-06",
    "ce-plugins-2026-09-01",
    "ce-user-management-2026-07-13",
    "code-execution-2025-05-22",
    "compact-2026-01-12",
    "compact-2026-09-04",
    "computer-use-2024-10-22",
    "computer-use-2025-01-24",
    "computer-use-2025-11-24",
    "context-1m-2025-08-07",
    "context-management-2025-06-27",
    "dev-full-thinking-2025-05-14",
    "dreaming-2026-04-21",
    "experimental-claude-tag-2026-10-21",
    "extended-cache-ttl-2025-04-11",
    "fallback-credit-2026-06-01",
    "fallback-credit-2026-07-01",
    "fast-mode-2026-02-01",
    "files-api-2025-04-14",
    "inline-tools-2026-09-15",
    "interleaved-thinking-2025-05-14",
    "managed-agents-2026-04-01",
    "mcp-client-2025-04-04",
    "mcp-client-2025-11-20",
    "mcp-client-2026-09-15",
    "mcp-tunnels-2026-06-22",
    "message-batches-2024-09-24",
    "message-threads-2026-08-12",
    "mid-conversation-output-config-2026-07-01",
    "mid-conversation-system-clear-at-2026-08-21",
    "mid-conversation-tool-changes-2026-07-01",
    "model-context-window-exceeded-2025-08-26",
    "output-128k-2025-02-19",
    "output-300k-2026-03-24",
    "pdfs-2024-09-25",
    "prompt-caching-2024-07-31",
    "server-side-fallback-2026-06-01",
    "server-side-fallback-2026-07-01",
    "skills-2025-10-02",
    "spend-limit-reads-2026-09-26",
    "structured-outputs-2025-11-13",
    "task-budgets-2026-03-13",
    "telemetry-destinations-2026-08-11",
    "thinking-binding-controls-2026-08-01",
    "thinking-display-updates-2026-08-18",
    "thinking-token-count-2026-05-13",
    "token-counting-2024-11-01",
    "token-efficient-tools-2025-02-19",
    "user-profiles-2026-03-24",
    "user-profiles-2026-08-18",
    "user-profiles-2026-09-04",
    "user-profiles-billing-2026-10-01",
    "webhooks-2026-10-07",
];

/// Refuses names that do not exist, in the original's words.
pub(crate) fn check_names(headers: &HeaderMap) -> Result<(), Error> {
    let unknown: Vec<String> = names(headers)
        .filter(|name| KNOWN.binary_search(name).is_err())
        .map(|name| format!("`{name}`"))
        .collect();
    if unknown.is_empty() {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "Unexpected value(s) {} for the `anthropic-beta` header. Please consult our documentation at \
         platform.claude.com/docs or try again without the header.",
        unknown.join(", ")
    )))
}

/// Without the header the route does not exist, as in the original; but the message says what is missing.
pub(crate) fn check_managed_agents(headers: &HeaderMap) -> Result<(), Failure> {
    if names(headers).any(|name| name == MANAGED_AGENTS) {
        return Ok(());
    }
    Err(Failure::not_found(format!(
        "This endpoint is in beta: the request must carry the header `anthropic-beta: {MANAGED_AGENTS}`."
    )))
}

fn names(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    headers
        .get_all(HEADER)
        .iter()
        .flat_map(|value| value.to_str().unwrap_or("(not text)").split(','))
        .map(str::trim)
        .filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&'static str]) -> HeaderMap {
        values.iter().map(|value| (HEADER, axum::http::HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn the_known_names_are_sorted_for_the_search() {
        assert!(KNOWN.is_sorted());
    }

    #[test]
    fn several_names_come_in_one_header_or_in_many() {
        for values in
            [&["skills-2025-10-02, managed-agents-2026-04-01"][..], &["skills-2025-10-02", MANAGED_AGENTS]]
        {
            check_names(&headers(values)).unwrap();
            check_managed_agents(&headers(values)).unwrap();
        }
    }

    #[test]
    fn every_unknown_name_is_told() {
        let error = check_names(&headers(&["nope, managed-agents-2026-04-01", "nor-this"])).unwrap_err();
        assert_eq!(
            error.message,
            "Unexpected value(s) `nope`, `nor-this` for the `anthropic-beta` header. Please consult our documentation \
             at platform.claude.com/docs or try again without the header."
        );
    }

    #[test]
    fn a_missing_name_is_told_in_a_404() {
        let message = "This endpoint is in beta: the request must carry the header `anthropic-beta: \
                       managed-agents-2026-04-01`.";
        assert_eq!(check_managed_agents(&headers(&[])), Err(Failure::not_found(message)));
    }
}
