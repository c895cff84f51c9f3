//! The suite over lists. Nothing is told between nodes: a person writes the same list for all of
//! them, takes a line out of it when a node leaves, and has it read again.

use std::sync::Arc;

use consign_core::view::{Member, MemberState};

use super::super::MembershipSource as _;
use super::super::list::List;
use super::{Own, Started, World, member, suite};

#[derive(Default)]
struct Lists {
    members: Vec<Member>,
    lists: Vec<Arc<List>>,
}

impl Lists {
    /// A person writes this line, in place of the one there was of that name.
    fn write(&mut self, member: Member) {
        self.members.retain(|one| one.name != member.name);
        if member.state != MemberState::Left {
            self.members.push(member);
        }
        for list in &self.lists {
            list.relist(self.members.clone());
        }
    }
}

impl World for Lists {
    async fn start(&mut self, own: Own) -> Started {
        self.write(own.member.clone());
        let list = Arc::new(List::new(self.members.clone()));
        self.lists.push(Arc::clone(&list));
        Started::new(list, own.member, None)
    }

    fn announce(&mut self, _node: &Started, member: Member) {
        self.write(member);
    }

    fn break_source(&mut self) {
        unreachable!("a list is never away")
    }

    fn mend_source(&mut self) {}
}

macro_rules! suite {
    ($($test:ident)*) => {$(
        #[tokio::test]
        async fn $test() {
            suite::$test(Lists::default()).await;
        }
    )*};
}

// Left out, since a list hears nothing: what these cases are about happens between nodes, and here
// they would try nothing but `Lists::write`, which is the tests' own.
//
// * `members_that_join_are_heard`, `a_member_that_crashes_stays_and_returns`,
//   `a_member_that_restarts_at_once_has_its_name`, `the_name_of_a_dead_node_may_be_used_by_another`,
//   `a_node_that_returns_with_a_new_disk_is_heard`: whether a node runs, and in which life, changes no list.
// * `the_later_of_two_nodes_of_one_name_is_refused`: no node hears of another's list. One list with a name
//   twice is refused as a whole, by the configuration.
// * `a_member_that_leaves_goes_and_may_return`, `a_forgotten_member_goes_everywhere`: no list is told. Below,
//   members are taken out by a person, and come back.
// * `nobody_goes_while_the_source_is_away`: a list is never away.
//
// Members that join, leave and return by a list that real agents read again are in the tests of agents,
// `guarantees::listed` and `guarantees::members`.
suite! {
    changes_of_a_member_are_heard
}

fn listed(names: &[&str]) -> Started {
    let list = List::new(names.iter().map(|name| member(name)).collect());
    Started::new(Arc::new(list), member(names[0]), None)
}

#[tokio::test]
async fn members_that_are_taken_out_of_the_list_are_none() {
    let mut a = listed(&["a", "b"]);
    a.until_members(&["a", "b"]).await;
    a.source.relist(["a", "c"].map(member).to_vec());
    a.until_members(&["a", "c"]).await;
    a.source.relist(["a", "b"].map(member).to_vec());
    a.until_members(&["a", "b"]).await;
}

#[tokio::test]
async fn a_member_that_is_listed_as_left_is_known_as_such() {
    let mut a = listed(&["a", "b"]);
    a.until_members(&["a", "b"]).await;
    let mut changed = member("b");
    changed.state = MemberState::Left;
    a.source.relist(vec![member("a"), changed.clone()]);
    a.until("the change", move |_, view| {
        view.member(&changed.name) == Some(&changed)
    })
    .await;
}

#[tokio::test]
async fn a_list_is_never_away_and_cannot_tell_who_runs() {
    let a = listed(&["a", "b"]);
    let heard = a.heard.borrow();
    assert!(heard.standing.reachable);
    assert!(heard.sighting.members.iter().all(|one| one.live.is_none()));
}

#[tokio::test]
async fn what_a_node_tells_changes_no_list() {
    let mut a = listed(&["a", "b"]);
    let mut changed = member("a");
    changed.weight = 7;
    a.source.announce(changed);
    a.source.forget(&super::name("b"));
    a.until("the list as it is", |_, view| {
        view.members() == [member("a"), member("b")]
    })
    .await;
}
