//! What the intent log guarantees, over the simulated disk.

mod crashes;
mod damage;
mod faults;
mod reading;
mod space;
mod world;
