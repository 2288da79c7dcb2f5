//! What a process has used, by the word of the kernel.

use std::fs::read_to_string;
use std::time::Duration;

use serde::Serialize;

use crate::Result;

/// The unit of the times in `/proc/<pid>/stat`, which Linux fixes for programs on every architecture.
const TICKS_PER_SECOND: u64 = 100;

/// Memory of a process in KiB.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub(crate) struct Memory {
    pub(crate) rss_kib: u64,
    pub(crate) peak_rss_kib: u64,
}

/// Highest and last memory seen; a process that has ended no longer tells.
#[derive(Debug, Default)]
pub(crate) struct MemoryWatch(Memory);

impl MemoryWatch {
    /// Looks once.
    pub(crate) fn look(&mut self, pid: u32) {
        if let Ok(memory) = memory(pid) {
            self.0 = memory;
        }
    }

    /// What was seen last.
    pub(crate) fn last(&self) -> Memory {
        self.0
    }
}

/// Processor time of the whole process, user and system. A process that has ended still has it until it is reaped.
pub(crate) fn cpu_time(pid: u32) -> Result<Duration> {
    let stat = read_to_string(format!("/proc/{pid}/stat"))?;
    let times: u64 =
        fields_after_name(&stat).skip(11).take(2).map(|field| field.parse::<u64>().unwrap_or_default()).sum();
    Ok(Duration::from_millis(times * 1_000 / TICKS_PER_SECOND))
}

/// Processor time of the threads that live, to the nanosecond: for processes that use next to none.
pub(crate) fn fine_cpu_time(pid: u32) -> Result<Duration> {
    let mut nanoseconds = 0;
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        // A thread may end while we look.
        let Ok(text) = read_to_string(task?.path().join("schedstat")) else { continue };
        nanoseconds += text.split_whitespace().next().and_then(|field| field.parse().ok()).unwrap_or(0_u64);
    }
    Ok(Duration::from_nanos(nanoseconds))
}

/// Whether the process is gone or waits to be reaped.
pub(crate) fn has_ended(pid: u32) -> bool {
    let Ok(stat) = read_to_string(format!("/proc/{pid}/stat")) else { return true };
    matches!(fields_after_name(&stat).next(), Some("Z" | "X"))
}

/// Resident memory now and at its highest.
pub(crate) fn memory(pid: u32) -> Result<Memory> {
    let status = read_to_string(format!("/proc/{pid}/status"))?;
    let (Some(rss_kib), Some(peak_rss_kib)) = (kib(&status, "VmRSS:"), kib(&status, "VmHWM:")) else {
        return Err(format!("process {pid} tells nothing of its memory").into());
    };
    Ok(Memory { rss_kib, peak_rss_kib })
}

/// Resident memory with pages that several processes share counted in parts.
pub(crate) fn pss_kib(pid: u32) -> Result<u64> {
    let rollup = read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    Ok(kib(&rollup, "Pss:").ok_or("smaps_rollup has no Pss")?)
}

/// The name in parentheses may hold blanks, so fields are counted from behind it; the first one is the state.
fn fields_after_name(stat: &str) -> impl Iterator<Item = &str> {
    stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace()
}

fn kib(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
}
