//! Several authorities: each has its own lists, and there are only so many.

use std::fs;

use super::super::Keyring;
use super::super::bounds::AUTHORITIES_MAX;
use super::super::bundle::KeyFiles;
use super::{Ca, Keys, believing_both, known, node};

#[test]
fn each_authority_counts_its_own_lists_and_takes_back_its_own_certificates() {
    let (mut old, mut new) = (Ca::new(), Ca::new());
    let keys = believing_both(&mut old, &new, "store-1", "consumer");
    let data_dir = old.dir.path().join("store-1");
    fs::create_dir_all(&data_dir).unwrap();
    let (keyring, _) = Keyring::open(keys, &data_dir);
    let of_old = old.bundle("cam-7", "producer");
    let [of_new, other] = ["cam-7", "cam-8"].map(|name| new.bundle(name, "producer"));
    let [cut_old, cut_new, cut_other] =
        [&of_old, &of_new, &other].map(|bundle| keyring.cut(known(&keyring, bundle)));
    // One by the old authority that is far ahead, and covers the number of the new one's certificate.
    for name in ["a", "b", "c", "cam-7"] {
        drop(old.keys(name, "producer"));
        let list = old.revoke(name);
        let cut_short = list.trim_end();
        let taken = keyring.take_over(cut_short.as_bytes()).unwrap();
        assert!(taken.is_some());
    }
    assert!(cut_old.severed().is_some());
    assert_eq!(cut_new.severed(), None, "it is another authority's number");
    assert_eq!(keyring.lowest_list(), 0, "the new one has made none");
    let first = new.revoke("cam-8");
    let in_force = keyring.take_over(first.as_bytes()).unwrap().unwrap();
    assert_eq!(in_force.list.number(), 1);
    assert!(cut_other.severed().is_some());
    assert_eq!(keyring.lowest_list(), 1);
    // Both are there in the next life; and what a node wrote that knew one list alone is one of them.
    let both = fs::read_to_string(data_dir.join("revoked")).unwrap();
    let [old_alone, new_alone] = [old.revoke("cam-7"), first];
    for (kept, numbers) in [(&both, [4, 1]), (&old_alone, [4, 0]), (&new_alone, [0, 1])] {
        fs::write(data_dir.join("revoked"), kept).unwrap();
        let keys = believing_both(&mut old, &new, "store-1", "consumer");
        let authorities: Vec<_> = keys.trust.keys().collect();
        let (again, trouble) = Keyring::open(keys, &data_dir);
        assert_eq!(trouble, None);
        let found = [0, 1].map(|at: usize| again.lists().number(authorities[at]));
        assert_eq!(found, numbers, "{kept}");
    }
    // Whoever believes the new one alone is left with its list, and hears of the other one.
    fs::write(data_dir.join("revoked"), &both).unwrap();
    let (gone_over, trouble) = Keyring::open(new.keys("store-1", "consumer"), &data_dir);
    assert_eq!(gone_over.lowest_list(), 1);
    assert!(
        trouble
            .unwrap()
            .contains("not signed by this cluster's authority")
    );
}

#[test]
fn more_authorities_than_anybody_needs_are_refused() {
    let mut ca = Ca::new();
    let own = ca.bundle("cam-7", "producer");
    let certificate = fs::read_to_string(ca.dir.path().join("ca/ca.pem")).unwrap();
    let many = ca.dir.path().join("many.pem");
    fs::write(&many, certificate.repeat(AUTHORITIES_MAX + 1)).unwrap();
    let (cert, key) = (own.clone(), own);
    let files = KeyFiles::Apart {
        ca: many,
        cert,
        key,
    };
    let refused = Keys::read(&files, None, &node("cam-7"), &[]).unwrap_err();
    let said = refused.to_string();
    assert!(
        said.contains("17 authorities") && said.contains("hint:"),
        "{said}"
    );
}
