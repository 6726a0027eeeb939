//! How much memory this process may have: that of the machine, or less if it runs in a container or in a service with
//! a bound (cgroups, versions 1 and 2).

use std::fs;
use std::path::Path;

use sysinfo::{MemoryRefreshKind, RefreshKind, System};

/// Where the kernel shows control groups.
const GROUPS: &str = "/sys/fs/cgroup";

/// Bytes that this process may have.
pub(super) fn bytes() -> usize {
    let ram = MemoryRefreshKind::nothing().with_ram();
    let machine = System::new_with_specifics(RefreshKind::nothing().with_memory(ram)).total_memory();
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let bytes = bound(Path::new(GROUPS), &groups).map_or(machine, |bound| bound.min(machine));
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// The least bound of the groups named by `groups` (the text of `/proc/self/cgroup`) and of those above them.
pub(super) fn bound(root: &Path, groups: &str) -> Option<u64> {
    let mut least = None;
    for group in groups.lines() {
        // Hierarchy, controllers, path: version 2 has no controllers here.
        let mut parts = group.splitn(3, ':');
        let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let (root, file) = match controllers {
            "" => (root.to_owned(), "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => {
                (root.join("memory"), "memory.limit_in_bytes")
            }
            _ => continue,
        };
        // In a container the path may be that of the host, of which only the root is shown.
        let below = root.join(path.trim_start_matches('/'));
        for folder in below.ancestors().take_while(|folder| folder.starts_with(&root)) {
            let text = fs::read_to_string(folder.join(file)).unwrap_or_default();
            // Without a bound it says `max`, or a number beyond all memory.
            least = text.trim().parse().ok().into_iter().chain(least).min();
        }
    }
    least
}
