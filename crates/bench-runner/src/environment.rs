//! Where the client runs: measured, unknown is `None`.

use llms_core::bench::EnvironmentInfo;

/// Looks at this machine. `load_after` stays empty; [`load_average`] fills it in when the run is over.
pub fn capture_environment() -> EnvironmentInfo {
    EnvironmentInfo { load_before: load_average(), ..hardware() }
}

/// What does not change while a run lasts.
pub(crate) fn hardware() -> EnvironmentInfo {
    EnvironmentInfo {
        os: std::env::consts::OS.to_owned(),
        architecture: std::env::consts::ARCH.to_owned(),
        kernel: kernel(),
        cpu_model: cpu_model(),
        cpu_cores: std::thread::available_parallelism().ok().and_then(|n| u32::try_from(n.get()).ok()),
        memory_bytes: memory_bytes(),
        load_before: None,
        load_after: None,
    }
}

#[cfg(unix)]
fn kernel() -> Option<String> {
    let name = rustix::system::uname();
    Some(name.release().to_string_lossy().into_owned()).filter(|r| !r.is_empty())
}

#[cfg(not(unix))]
fn kernel() -> Option<String> {
    None
}

#[cfg(target_os = "linux")]
fn cpu_model() -> Option<String> {
    parse_cpu_model(&std::fs::read_to_string("/proc/cpuinfo").ok()?)
}

#[cfg(not(target_os = "linux"))]
fn cpu_model() -> Option<String> {
    None
}

/// The first model line of `/proc/cpuinfo`: x86 says `model name`, some ARM kernels `Model` or `Hardware`.
#[cfg(any(target_os = "linux", test))]
fn parse_cpu_model(cpuinfo: &str) -> Option<String> {
    ["model name", "Model", "Hardware", "cpu model"].iter().find_map(|wanted| {
        cpuinfo.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == *wanted).then(|| value.trim().to_owned()).filter(|v| !v.is_empty())
        })
    })
}

#[cfg(target_os = "linux")]
fn memory_bytes() -> Option<u64> {
    let info = rustix::system::sysinfo();
    (info.totalram as u64).checked_mul(u64::from(info.mem_unit)).filter(|&b| b > 0)
}

#[cfg(not(target_os = "linux"))]
fn memory_bytes() -> Option<u64> {
    None
}

/// The load average of the last minute.
#[cfg(target_os = "linux")]
pub fn load_average() -> Option<f64> {
    // The kernel's fixed point: 16 bits after the point.
    Some(rustix::system::sysinfo().loads[0] as f64 / 65_536.0)
}

/// The load average of the last minute; unknown on this platform.
#[cfg(not(target_os = "linux"))]
pub fn load_average() -> Option<f64> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_models_of_several_kernels() {
        for (text, model) in [
            ("processor\t: 0\nmodel name\t: AMD EPYC 7B13\n", Some("AMD EPYC 7B13")),
            ("processor\t: 0\nBogoMIPS\t: 48\nHardware\t: BCM2835\n", Some("BCM2835")),
            ("processor\t: 0\n", None),
            ("model name\t:\n", None),
        ] {
            assert_eq!(parse_cpu_model(text).as_deref(), model);
        }
    }

    #[test]
    fn this_machine_is_measured() {
        let e = capture_environment();
        assert!(!e.os.is_empty() && !e.architecture.is_empty());
        assert!(e.cpu_cores.is_none_or(|n| n >= 1));
        assert!(e.load_before.is_none_or(|l| (0.0..1e6).contains(&l)));
        #[cfg(target_os = "linux")]
        assert!(e.kernel.is_some() && e.memory_bytes.is_some_and(|b| b > 1 << 20));
    }
}
