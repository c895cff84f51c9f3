//! The API over a driver that the tests answer for, and a real catalogue.

pub(crate) mod bench;
mod reading;
mod sockets;
mod submitting;
