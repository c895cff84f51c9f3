//! The members of a cluster, as one node sees them.
/// The members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View;
