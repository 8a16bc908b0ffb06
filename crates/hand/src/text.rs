//! What programs print, as text.

/// Lossy UTF-8 without the sequences that colour a terminal or move its cursor.
pub fn plain(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    if !text.contains(['\u{1b}', '\0']) {
        return text.into_owned();
    }
    let mut plain = String::with_capacity(text.len());
    let mut rest = &*text;
    while let Some(at) = rest.find(['\u{1b}', '\0']) {
        plain.push_str(&rest[..at]);
        rest = &rest[at..];
        rest = if let Some(after) = rest.strip_prefix('\0') {
            plain.push(char::REPLACEMENT_CHARACTER);
            after
        } else {
            skip_escape(&rest[1..])
        };
    }
    plain.push_str(rest);
    plain
}

/// What follows an escape sequence, given what follows its first character.
fn skip_escape(rest: &str) -> &str {
    if let Some(control) = rest.strip_prefix('[') {
        let body = control.trim_start_matches(|c: char| ('\u{30}'..='\u{3f}').contains(&c));
        let body = body.trim_start_matches(|c: char| ('\u{20}'..='\u{2f}').contains(&c));
        return body.strip_prefix(|c: char| ('\u{40}'..='\u{7e}').contains(&c)).unwrap_or(body);
    }
    if let Some(command) = rest.strip_prefix(']') {
        // An operating system command, such as the window's title, ends in BEL or ESC backslash.
        let end = command.find(['\u{7}', '\u{1b}']).map(|at| command.split_at(at).1);
        return match end {
            Some(end) => end.strip_prefix('\u{7}').or_else(|| end.strip_prefix("\u{1b}\\")).unwrap_or(end),
            None => rest,
        };
    }
    let body = rest.trim_start_matches(|c: char| ('\u{20}'..='\u{2f}').contains(&c));
    if body.len() == rest.len() {
        return rest.strip_prefix(|c: char| ('\u{30}'..='\u{7e}').contains(&c)).unwrap_or(rest);
    }
    body.strip_prefix(|c: char| ('\u{30}'..='\u{7e}').contains(&c)).unwrap_or(body)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terminal_sequences_and_broken_bytes_leave_plain_text() {
        let printed = b"\x1b[1;31mred\x1b[0m \x1b]0;title\x07x\x1b]8;;u\x1b\\y\x1b(Bz \x1b[?25l\0\xff\x1b";
        assert_eq!(plain(printed), "red xyz \u{fffd}\u{fffd}");
    }
}
