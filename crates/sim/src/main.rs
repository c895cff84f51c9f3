<<<<<<< HEAD
=======
//! Runs simulated clusters.

>>>>>>> log
fn main() {}
