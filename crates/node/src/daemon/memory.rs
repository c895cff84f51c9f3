//! How memory is taken from the system.

/// Fewest and most pools that threads take memory from; between the two as many as cores.
const POOLS: std::ops::RangeInclusive<usize> = 2..=8;

/// Bounds the pools of the C library, before there are threads: by default there are eight for each
/// core, and what a thread frees in one is of no use to those with another. With twenty threads that
/// hand work to each other, a node took up to twice what it ever held.
#[cfg(target_env = "gnu")]
pub(super) fn bound_pools() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let pools = cores.clamp(*POOLS.start(), *POOLS.end());
    let pools = libc::c_int::try_from(pools).expect("a small number");
    #[expect(unsafe_code, reason = "there is no other way to set it from inside")]
    // SAFETY: it takes two numbers, and changes how later requests are served. glibc locks its own
    // state around the change. When it refuses, everything works as before.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, pools);
    }
}

/// Other C libraries have one pool, or pools of another kind.
#[cfg(not(target_env = "gnu"))]
pub(super) fn bound_pools() {}
