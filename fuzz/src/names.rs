//! Names that producers choose, and where consumers put them.

use std::collections::BTreeMap;

use consign_core::ids::{FeedName, NodeName, Sequence, Start, TransferId, TransferKey};
use consign_core::name::{
    FileName, Pattern, Template, TemplateKind, TemplateValues, conflict_name,
};

/// A layout, a pattern of nodes and a file's name, one to a line: the file stays beneath its inbox
/// under every layout, and no component is one that a filesystem would not take.
///
/// # Panics
/// When it does not.
pub fn names(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let mut lines = text.splitn(3, '\n');
    let (layout, pattern, name) = (lines.next(), lines.next(), lines.next());
    let producer = NodeName::new("cam-7").expect("a clean name");
    if let Some(Ok(pattern)) = pattern.map(Pattern::new) {
        let _ = pattern.matches(&producer);
    }
    let Some(Ok(name)) = name.map(FileName::new) else {
        return;
    };
    stays_beneath(&name);
    let key = TransferKey {
        start: Start(7),
        seq: Sequence(u64::MAX),
    };
    let id = TransferId {
        producer: producer.clone(),
        key,
    };
    stays_beneath(&conflict_name(&name, &id));
    let Some(Ok(layout)) = layout.map(|layout| Template::parse(layout, TemplateKind::Layout))
    else {
        return;
    };
    let rendered = layout.render_name(&TemplateValues {
        name: &name,
        feed: &FeedName::new("images").expect("a clean name"),
        producer: &producer,
        transfer: Some(key),
        meta: &BTreeMap::new(),
    });
    if let Ok(path) = rendered {
        stays_beneath(&path);
    }
}

fn stays_beneath(name: &FileName) {
    let text = name.as_str();
    assert!(!text.is_empty() && !text.starts_with('/') && !text.ends_with('/'));
    for component in name.components() {
        assert!(!matches!(component, "" | "." | ".."), "{text:?}");
        assert!(component.len() <= 255, "{text:?}");
        assert!(!component.contains(['/', '\0']), "{text:?}");
        assert!(!component.contains(char::is_control), "{text:?}");
        assert_ne!(component, ".consign", "{text:?} is in staging");
    }
}
