//! How many heaps the process has.
//!
//! glibc gives threads heaps of their own (*arenas*), up to eight for each processor. Memory that one is given back is
//! free for none of the others, and a row is made on one thread, sorted on another and written on a third: each arena
//! grows to the most that was ever in it. The storage engine's decision 025 has the figures.

/// Variables by which whoever starts the process says it otherwise.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const SAID_OTHERWISE: [&str; 2] = ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES"];

/// From now on there is one arena for each processor. To be called before there are threads.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn limit() {
    if SAID_OTHERWISE.into_iter().any(|name| std::env::var_os(name).is_some()) {
        return;
    }
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let Ok(arenas) = libc::c_int::try_from(processors) else { return };
    // SAFETY: mallopt(3) takes two numbers and no memory of ours, and may be called at any time; a number that it does
    // not like it refuses. It answers 0 then, and there are as many arenas as there would have been.
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, arenas);
    }
}

/// Other allocators are as they are.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn limit() {}
