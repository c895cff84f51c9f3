//! The members of a cluster, as one node sees them.
