//! Which core runs what.
//!
//! A wake-up on the same core costs a fraction of one on another core, and a copy out of another core's
//! cache several times one out of our own. Left to itself the scheduler decides that anew every time,
//! and ratios of the same two programs differ by a factor of two. So whatever is measured gets the last
//! core to itself, and the load the others.

use std::io;
use std::mem;
use std::sync::OnceLock;

/// The core of whatever is measured; `None` when nothing is pinned.
static MEASURED: OnceLock<Option<usize>> = OnceLock::new();

/// Leaves the last core to the programs under measurement, unless there is only one, or `PIN=0`.
/// To be called before any other thread is there. Says what was decided.
pub fn divide() -> io::Result<String> {
    let allowed = allowed()?;
    let is_wanted = std::env::var_os("PIN").map_or(true, |value| value != "0");
    let Some((&measured, load)) = allowed.split_last().filter(|(_, load)| !load.is_empty()) else {
        return Ok("not pinned, there is only one".into());
    };
    if !is_wanted {
        return Ok("not pinned".into());
    }
    pin(0, load)?;
    MEASURED.get_or_init(|| Some(measured));
    Ok(format!("measured on core {measured}, load on {}", listed(load)))
}

/// Moves a child to the core of what is measured.
pub fn give_measured_core(pid: u32) -> io::Result<()> {
    match MEASURED.get() {
        Some(&Some(core)) => pin(pid as libc::pid_t, &[core]),
        _ => Ok(()),
    }
}

fn listed(cores: &[usize]) -> String {
    match cores {
        [first, .., last] => format!("{first}..{last}"),
        [only] => only.to_string(),
        [] => String::new(),
    }
}

/// The cores that this process may use, in ascending order.
fn allowed() -> io::Result<Vec<usize>> {
    let mut set = empty();
    // SAFETY: sched_getaffinity(2) writes at most the size it is given.
    if unsafe { libc::sched_getaffinity(0, mem::size_of_val(&set), &mut set) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: CPU_ISSET(3) reads a bit, and every index is below CPU_SETSIZE.
    let holds = |core: &usize| unsafe { libc::CPU_ISSET(*core, &set) };
    Ok((0..libc::CPU_SETSIZE as usize).filter(holds).collect())
}

fn pin(pid: libc::pid_t, cores: &[usize]) -> io::Result<()> {
    let mut set = empty();
    for &core in cores {
        // SAFETY: CPU_SET(3) sets a bit; the index came out of such a set.
        unsafe { libc::CPU_SET(core, &mut set) };
    }
    // SAFETY: sched_setaffinity(2) reads no more than the size it is given.
    if unsafe { libc::sched_setaffinity(pid, mem::size_of_val(&set), &set) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

fn empty() -> libc::cpu_set_t {
    // SAFETY: cpu_set_t is an array of integers, for which zero is a value.
    unsafe { mem::zeroed() }
}
