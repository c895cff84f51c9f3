//! What the intent log guarantees, over the simulated disk.

mod crashes;
mod damage;
mod faults;
mod fixture;
mod reading;
mod space;
mod world;
