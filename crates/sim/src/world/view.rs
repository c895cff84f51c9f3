//! Who the members are, as an operator says.

use std::collections::BTreeMap;

use consign_core::ids::NodeName;
use consign_core::producer;
use consign_core::view::{Member, MemberState, View};

use super::{Happening, World};
use crate::plan::NodePlan;

impl World {
    /// The view of all nodes that are let in, some of them in another state than active.
    pub(super) fn members(
        &self,
        is_in: impl Fn(&NodePlan) -> bool,
        states: &BTreeMap<usize, MemberState>,
    ) -> View {
        let members = self
            .plan
            .nodes
            .iter()
            .enumerate()
            .filter(|(_, node)| is_in(node));
        let members = members.map(|(number, node)| Member {
            name: NodeName::new(&node.name).expect("a clean name"),
            addr: format!("{}.sim:7420", node.name),
            zone: self.nodes[number].zone.clone(),
            weight: self.nodes[number].weight,
            feeds: self.listed(number),
            state: states.get(&number).copied().unwrap_or_default(),
        });
        View::new(self.view.epoch() + 1, members.collect()).expect("plans make good views")
    }

    /// Changes the state of one member; `None` takes it out. Every node hears of it some time.
    pub(super) fn change_member(&mut self, node: usize, state: Option<MemberState>) {
        let mut members = self.view.members().to_vec();
        let name = self.name(node);
        members.retain(|member| member.name != name);
        if let Some(state) = state {
            members.push(Member {
                addr: format!("{name}.sim:7420"),
                zone: self.nodes[node].zone.clone(),
                weight: self.nodes[node].weight,
                feeds: self.listed(node),
                state,
                name,
            });
        }
        if let Some(view) = self.view.successor(members).expect("members stay good") {
            self.view = view;
            for other in 0..self.nodes.len() {
                let delay = self.draw(500_000);
                self.after(delay, Happening::ViewTo(other));
            }
        }
    }

    pub(super) fn view_to(&mut self, node: usize) {
        let view = self.view.clone();
        self.produce(node, producer::Event::View(view));
    }
}
