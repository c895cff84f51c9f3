//! A sorted map for very many small entries under nearly dense numbers.
//!
//! A tree's leaves are half empty when its keys come in order, and each entry holds its whole key.
//! Here 256 consecutive numbers of a start share a page: a sorted vector that is never much larger
//! than what is in it, whose entries keep the last byte of their number.

use std::collections::BTreeMap;

use crate::ids::Start;

/// Entries by which a full page grows, and of which an emptier one may have as many free: each page
/// of 256 is moved at most 16 times, and wastes a sixteenth.
const PAGE_GROWTH: usize = 16;

/// What is kept under a number.
pub(super) trait Entry {
    /// The last byte of its number.
    fn low(&self) -> u8;
}

/// See the module.
#[derive(Debug, Clone)]
pub(super) struct Pages<E> {
    pages: BTreeMap<(Start, u64), Vec<E>>,
    len: usize,
}

impl<E> Default for Pages<E> {
    fn default() -> Self {
        Self {
            pages: BTreeMap::new(),
            len: 0,
        }
    }
}

fn page_of(number: u64) -> u64 {
    number >> 8
}

fn low_of(number: u64) -> u8 {
    number as u8
}

/// The entries of a page with their numbers.
fn numbered<'a, E: Entry>(
    (&(start, page), entries): (&(Start, u64), &'a Vec<E>),
) -> impl Iterator<Item = (Start, u64, &'a E)> + use<'a, E> {
    let number = move |entry: &E| page << 8 | u64::from(entry.low());
    entries
        .iter()
        .map(move |entry| (start, number(entry), entry))
}

impl<E: Entry> Pages<E> {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn get(&self, start: Start, number: u64) -> Option<&E> {
        let page = self.pages.get(&(start, page_of(number)))?;
        let at = page.binary_search_by_key(&low_of(number), E::low).ok()?;
        Some(&page[at])
    }

    pub(super) fn get_mut(&mut self, start: Start, number: u64) -> Option<&mut E> {
        let page = self.pages.get_mut(&(start, page_of(number)))?;
        let at = page.binary_search_by_key(&low_of(number), E::low).ok()?;
        Some(&mut page[at])
    }

    /// Enters something under its number, in place of what was there.
    pub(super) fn insert(&mut self, start: Start, number: u64, entry: E) -> Option<E> {
        assert_eq!(entry.low(), low_of(number), "an entry knows its number");
        let page = self.pages.entry((start, page_of(number))).or_default();
        match page.binary_search_by_key(&entry.low(), E::low) {
            Ok(at) => Some(std::mem::replace(&mut page[at], entry)),
            Err(at) => {
                if page.len() == page.capacity() {
                    page.reserve_exact(PAGE_GROWTH);
                }
                page.insert(at, entry);
                self.len += 1;
                None
            }
        }
    }

    /// What is kept under a number, made first if there is nothing.
    pub(super) fn get_or_insert(&mut self, start: Start, number: u64, entry: E) -> &mut E {
        if self.get(start, number).is_none() {
            self.insert(start, number, entry);
        }
        self.get_mut(start, number).expect("it is there now")
    }

    pub(super) fn remove(&mut self, start: Start, number: u64) -> Option<E> {
        let at = (start, page_of(number));
        let page = self.pages.get_mut(&at)?;
        let found = page.binary_search_by_key(&low_of(number), E::low).ok()?;
        let entry = page.remove(found);
        self.len -= 1;
        if page.is_empty() {
            self.pages.remove(&at);
        } else if page.capacity() - page.len() > 2 * PAGE_GROWTH {
            page.shrink_to(page.len() + PAGE_GROWTH);
        }
        Some(entry)
    }

    /// Everything, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Start, u64, &E)> {
        self.pages.iter().flat_map(numbered)
    }

    /// The lowest number of a start.
    pub(super) fn first_of(&self, start: Start) -> Option<u64> {
        let (found, number, _) = self.first_from(start, 0)?;
        (found == start).then_some(number)
    }

    /// The first entry at or behind a number, of this start or a later one.
    pub(super) fn first_from(&self, start: Start, number: u64) -> Option<(Start, u64, &E)> {
        let pages = self.pages.range((start, page_of(number))..);
        pages
            .flat_map(numbered)
            .find(|(found, at, _)| (*found, *at) >= (start, number))
    }

    /// The starts, each once, without a look at every entry.
    pub(super) fn starts(&self) -> impl Iterator<Item = Start> {
        let mut from = Some(Start(0));
        std::iter::from_fn(move || {
            let (&(start, _), _) = self.pages.range((from?, 0)..).next()?;
            from = start.0.checked_add(1).map(Start);
            Some(start)
        })
    }

    /// Entries that there is memory for.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.pages.values().map(Vec::capacity).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    impl Entry for (u8, u32) {
        fn low(&self) -> u8 {
            self.0
        }
    }

    proptest! {
        #[test]
        fn behaves_like_a_map(
            ops in prop::collection::vec((0u64..3, 0u64..700, any::<bool>(), any::<u32>()), 0..400),
        ) {
            let (mut pages, mut model) = (Pages::default(), BTreeMap::new());
            for (start, number, removed, value) in ops {
                let start = Start(start);
                let entry = (low_of(number), value);
                if removed {
                    prop_assert_eq!(pages.remove(start, number), model.remove(&(start, number)));
                } else {
                    prop_assert_eq!(
                        pages.insert(start, number, entry),
                        model.insert((start, number), entry)
                    );
                }
                prop_assert_eq!(pages.len(), model.len());
                prop_assert_eq!(pages.get(start, number), model.get(&(start, number)));
                let from = pages.first_from(start, number).map(|(s, n, e)| ((s, n), *e));
                prop_assert_eq!(from, model.range((start, number)..).next().map(|(k, e)| (*k, *e)));
            }
            let all: Vec<_> = pages.iter().map(|(start, number, e)| ((start, number), *e)).collect();
            prop_assert_eq!(all, model.iter().map(|(k, v)| (*k, *v)).collect::<Vec<_>>());
            for start in (0..3).map(Start) {
                let first = model.range((start, 0)..=(start, u64::MAX)).next();
                prop_assert_eq!(pages.first_of(start), first.map(|((_, number), _)| *number));
            }
            let mut starts: Vec<_> = model.keys().map(|(start, _)| *start).collect();
            starts.dedup();
            prop_assert_eq!(pages.starts().collect::<Vec<_>>(), starts);
        }
    }

    #[test]
    fn memory_follows_what_is_kept() {
        let mut pages = Pages::default();
        for number in 0..100_000 {
            pages.insert(Start(1), number, (low_of(number), 0));
        }
        assert!(pages.capacity() <= 107_000, "{}", pages.capacity());
        for number in (0..100_000).filter(|number| number % 4 != 0) {
            pages.remove(Start(1), number);
        }
        assert!(pages.capacity() <= 40_000, "{}", pages.capacity());
        for number in (0..100_000).step_by(4) {
            pages.remove(Start(1), number);
        }
        assert_eq!((pages.capacity(), pages.len()), (0, 0));
    }
}
