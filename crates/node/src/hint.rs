//! What every message ends in: `what is wrong; hint: what to do`.

/// Between what is wrong and what to do about it.
const MARK: &str = "; hint: ";

/// What is wrong, and what to do about it; the latter is empty where the text names nothing.
pub(crate) fn split(text: &str) -> (&str, &str) {
    split_or(text, "")
}

/// What is wrong, and what to do about it: `otherwise` where the text names nothing.
pub(crate) fn split_or<'a>(text: &'a str, otherwise: &'a str) -> (&'a str, &'a str) {
    text.split_once(MARK).unwrap_or((text, otherwise))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_without_a_hint_is_all_message() {
        assert_eq!(split("the disk is full"), ("the disk is full", ""));
        assert_eq!(split_or("it is full", "wait"), ("it is full", "wait"));
        let text = "it is full; hint: free some; hint: or more";
        assert_eq!(
            split_or(text, "wait"),
            ("it is full", "free some; hint: or more")
        );
    }
}
