//! The real binary on real filesystems and real networks, under real faults. Needs root, and a few
//! tools; what cannot run is skipped aloud.
//!
//! Each kind of fault runs for as long as fits into a run of all tests; environment variables make
//! it longer:
//!
//! | variable | of |
//! |---|---|
//! | `POWER_CUTS` | `power`: cuts on each filesystem |
//! | `KILLS` | `power`: agents that are killed |
//! | `SYSCALL_CASES` | `syscalls`: calls that fail |
//! | `LIE_CASES` | `lies`: syncs and writes that lie |
//! | `CRASH_STATES` | `states`: states of each filesystem |
//! | `LINK_FAULTS` | `network`: faults of links |
//! | `CHURN_FILES` | `churn`: files that flow while machines come and go |
//! | `LINK_ROUNDS` | `links`: rounds of faults of bytes on links |
//! | `FAULT_SEED` | everything: another seed, printed by each test |

mod bridge;
mod churn;
mod fleet;
mod full;
mod http;
mod image;
mod isolated;
mod large;
mod ledger;
mod lies;
mod links;
mod load;
mod machine;
mod names;
mod network;
#[cfg(feature = "planted")]
mod planted;
mod power;
mod proxy;
mod rng;
mod states;
mod syscalls;
mod tracer;
mod waiting;
