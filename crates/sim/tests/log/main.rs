//! What the intent log guarantees, over the simulated disk.

mod crashes;
mod damage;
mod faults;
mod fixture;
mod inspect;
mod reading;
mod space;
mod world;
