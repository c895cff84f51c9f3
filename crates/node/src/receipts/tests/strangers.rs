//! Documents as strangers may write them.

use std::path::Path;

use proptest::prelude::*;

use super::super::document::Receipt;
use super::super::{Document, check};
use crate::identity::Authorities;

/// Exported by a cluster, with its authority beside it.
const FIXTURE: &str = include_str!("../../../tests/fixtures/receipts/document.json");

proptest! {
    /// What strangers write is refused or read, and proves nothing but what was signed.
    #[test]
    fn a_changed_byte_proves_nothing_else(at in 0..FIXTURE.len(), byte in 0x20_u8..0x7f) {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/receipts");
        let authorities = Authorities::read(&fixtures.join("ca.pem")).unwrap();
        let good: Document = serde_json::from_str(FIXTURE).unwrap();
        let mut bytes = FIXTURE.as_bytes().to_vec();
        bytes[at] = byte;
        let Ok(document) = serde_json::from_slice::<Document>(&bytes) else {
            return Ok(());
        };
        let Ok(checked) = check(&document, &authorities) else {
            return Ok(());
        };
        for (one, was) in checked.iter().zip(&good.receipts) {
            if one.outcome.is_ok() {
                let said = |document: &Document, receipt: &Receipt| {
                    let Document { transfer, feed, name, size, digest, .. } = document.clone();
                    let who = (receipt.consumer.clone(), receipt.incarnation, receipt.at);
                    (transfer, feed, name, size, digest.to_lowercase(), who)
                };
                prop_assert_eq!(said(&document, one.receipt), said(&good, was));
            }
        }
    }

    #[test]
    fn any_numbers_are_answered(index: u64, count: u64, size: u64, steps in 0_usize..70) {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/receipts");
        let authorities = Authorities::read(&fixtures.join("ca.pem")).unwrap();
        let mut document: Document = serde_json::from_str(FIXTURE).unwrap();
        document.size = size;
        let receipt = &mut document.receipts[0];
        (receipt.index, receipt.count) = (index, count);
        receipt.path = vec!["00".repeat(32); steps];
        let checked = check(&document, &authorities).unwrap();
        prop_assert!(checked[0].outcome.is_err());
    }
}

#[test]
fn lists_of_strangers_are_read_as_far_as_they_may_be_long() {
    let document = |receipts: usize, steps: usize, certificates: usize| {
        let mut document: Document = serde_json::from_str(FIXTURE).unwrap();
        let mut one = document.receipts[0].clone();
        one.path = vec![String::new(); steps];
        one.certificates = vec![String::new(); certificates];
        document.receipts = vec![one; receipts];
        serde_json::from_str::<Document>(&serde_json::to_string(&document).unwrap())
    };
    assert!(document(1024, 64, 5).is_ok());
    for (receipts, steps, certificates) in [(1025, 1, 1), (1, 65, 1), (1, 1, 6)] {
        let refused = document(receipts, steps, certificates)
            .unwrap_err()
            .to_string();
        assert!(refused.contains("a list of at most"), "{refused}");
    }
}
