//! Weighted rendezvous placement.
