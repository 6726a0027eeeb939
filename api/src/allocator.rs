//! How the allocator of the process is set.
//!
//! glibc gives threads heaps of their own (*arenas*), up to eight for each processor. Memory that one is given back is
//! free for none of the others, and a row is made on one thread, sorted on another and written on a third: each arena
//! grows to the most that was ever in it. What is large gets pages of its own, which go back to the system at once; but
//! glibc takes for large only what is larger than the largest piece that was ever given back, up to 32 MiB, and the rest
//! lies between series that stay. The storage engine's decision 025 has the figures.

/// What gets pages of its own. Buffers of a usual request are smaller.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const LARGE_BYTES: libc::c_int = 1 << 20;

/// From now on there is one arena for each processor, and what is large gives its memory back. To be called before there
/// are threads. `MALLOC_ARENA_MAX`, `MALLOC_MMAP_THRESHOLD_` and `GLIBC_TUNABLES` say it otherwise.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
pub fn settle() {
    let is_said =
        |name: &str| std::env::var_os(name).is_some() || std::env::var_os("GLIBC_TUNABLES").is_some();
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let arenas = libc::c_int::try_from(processors).unwrap_or(libc::c_int::MAX);
    let settings = [
        ("MALLOC_ARENA_MAX", libc::M_ARENA_MAX, arenas),
        ("MALLOC_MMAP_THRESHOLD_", libc::M_MMAP_THRESHOLD, LARGE_BYTES),
    ];
    for (name, setting, value) in settings {
        if is_said(name) {
            continue;
        }
        // SAFETY: mallopt(3) takes two numbers and no memory of ours, and may be called at any time; a number that it
        // does not like it refuses. It answers 0 then, and all is as it would have been.
        unsafe {
            libc::mallopt(setting, value);
        }
    }
}

/// Other allocators are as they are.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
pub fn settle() {}
