//! How a reply ended: with an answer, with calls, cut at a limit, refused, or in failure.
//!
//! Clients take `end_turn` for success, so only a complete answer ends with it. A reason that nobody knows, one that
//! contradicts the content, and a reply without content are failures.

/// What matters of a reply's content.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Content {
    pub(crate) has_calls: bool,
    /// No block but blank text.
    pub(crate) is_empty: bool,
}

/// The stop reason to pass on, in the words of the Messages API; `told` is the provider's, in whatever words.
///
/// # Errors
/// What is wrong with the end of the reply, to be told after the provider's name.
pub(crate) fn stop_reason(told: Option<&str>, content: Content) -> Result<&'static str, String> {
    let told = told.filter(|told| !told.is_empty());
    match told.map(known) {
        Some(Some("tool_use")) if !content.has_calls => {
            Err(format!("announced tool calls ({}) and sent none", told.unwrap_or_default()))
        }
        // Servers that end every reply alike still mean their calls.
        Some(Some("end_turn")) | None if content.has_calls => Ok("tool_use"),
        Some(Some("end_turn")) | None if content.is_empty => Err("sent a reply without content".to_owned()),
        None => Ok("end_turn"),
        Some(Some(reason)) => Ok(reason),
        Some(None) => Err(format!("ended its reply abnormally: {}", told.unwrap_or_default())),
    }
}

/// The reason that a provider's word stands for. Gateways use those of many systems, in any case.
fn known(told: &str) -> Option<&'static str> {
    Some(match told.to_ascii_lowercase().as_str() {
        "end_turn" | "stop" | "end" | "eos" | "eos_token" | "complete" | "completed" => "end_turn",
        "stop_sequence" => "stop_sequence",
        "tool_use" | "tool_calls" | "tool_call" | "function_call" => "tool_use",
        "max_tokens" | "length" | "max_length" | "model_length" | "max_output_tokens" => "max_tokens",
        "model_context_window_exceeded" => "model_context_window_exceeded",
        "pause_turn" => "pause_turn",
        "refusal" | "content_filter" | "content_filtered" | "safety" | "recitation" | "blocklist"
        | "prohibited_content" | "spii" | "sensitive" => "refusal",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_end_is_an_answer_a_call_a_truncation_a_refusal_or_a_failure() {
        let (nothing, text) = ((false, true), (false, false));
        let call = (true, false);
        for (told, (has_calls, is_empty), expected) in [
            (Some("stop"), text, Ok("end_turn")),
            (Some("STOP"), call, Ok("tool_use")),
            (None, text, Ok("end_turn")),
            (Some(""), call, Ok("tool_use")),
            (Some("tool_calls"), call, Ok("tool_use")),
            (Some("tool_calls"), text, Err("announced tool calls (tool_calls) and sent none")),
            (Some("length"), nothing, Ok("max_tokens")),
            (Some("SAFETY"), nothing, Ok("refusal")),
            (Some("end_turn"), nothing, Err("sent a reply without content")),
            (None, nothing, Err("sent a reply without content")),
            (Some("error"), text, Err("ended its reply abnormally: error")),
            (
                Some("malformed_function_call"),
                nothing,
                Err("ended its reply abnormally: malformed_function_call"),
            ),
        ] {
            let ended = stop_reason(told, Content { has_calls, is_empty });
            assert_eq!(ended, expected.map_err(str::to_owned), "{told:?}");
        }
    }
}
