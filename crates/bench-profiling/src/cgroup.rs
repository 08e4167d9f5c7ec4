//! The control groups this process lives in: quota on processors, time held back, pressure of its own. Versions 1 and 2,
//! also side by side.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
};

use crate::{file::KernelFile, parse};

/// Where to read, found once: a process is rarely moved while it measures.
#[derive(Debug)]
pub(crate) struct ControlGroup {
    /// The least quota above the process, processors; `None` without one or without a readable controller.
    pub(crate) quota_cores: Option<f64>,
    /// `cpu.stat` of the group with that quota, or of its own group.
    pub(crate) throttling: KernelFile,
    /// `cpu.pressure` of its own group.
    pub(crate) pressure: KernelFile,
}

/// One hierarchy: where it is mounted and the directory of this process in it.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    mount: PathBuf,
    own: PathBuf,
}

impl Place {
    /// Own directory and its ancestors, up to the mount.
    fn upwards(&self) -> impl Iterator<Item = &Path> {
        self.own.ancestors().take_while(|dir| dir.starts_with(&self.mount))
    }
}

impl ControlGroup {
    /// As the files `self/cgroup` and `self/mountinfo` below `proc` say.
    pub(crate) fn find(proc: &Path) -> Self {
        let read = |name| fs::read(proc.join("self").join(name)).unwrap_or_default();
        let (membership, mounts) = (read("cgroup"), read("mountinfo"));
        let (two, one) = (place_v2(&membership, &mounts), place_v1(&membership, &mounts));
        let pressure = match &two {
            Some(place) => KernelFile::open(&place.own.join("cpu.pressure")),
            None => {
                KernelFile::none("this process is in no control group of version 2, which pressure needs")
            }
        };
        // The controller is in one of the two hierarchies.
        let found = two
            .as_ref()
            .and_then(|place| {
                let quota =
                    tightest(place.upwards(), |dir| parse::cpu_max(&fs::read(dir.join("cpu.max")).ok()?));
                quota.or_else(|| has_throttling(&place.own).then(|| (place.own.clone(), None)))
            })
            .or_else(|| {
                let place = one.as_ref()?;
                let quota = tightest(place.upwards(), |dir| {
                    let read = |name| fs::read(dir.join(name)).ok();
                    parse::cfs_quota(&read("cpu.cfs_quota_us")?, &read("cpu.cfs_period_us")?)
                });
                quota.or_else(|| has_throttling(&place.own).then(|| (place.own.clone(), None)))
            });
        match found {
            Some((dir, quota_cores)) => {
                Self { quota_cores, throttling: KernelFile::open(&dir.join("cpu.stat")), pressure }
            }
            None => {
                let reason = if cfg!(target_os = "linux") {
                    "this process is in no control group with a quota on processors"
                } else {
                    "not available on this platform: control groups are Linux's"
                };
                Self { quota_cores: None, throttling: KernelFile::none(reason), pressure }
            }
        }
    }
}

fn has_throttling(dir: &Path) -> bool {
    fs::read(dir.join("cpu.stat")).is_ok_and(|text| parse::throttled(&text).is_some())
}

/// The group with the least quota; of those without one none.
fn tightest<'a>(
    dirs: impl Iterator<Item = &'a Path>,
    quota: impl Fn(&Path) -> Option<f64>,
) -> Option<(PathBuf, Option<f64>)> {
    dirs.filter_map(|dir| Some((dir, quota(dir)?)))
        .min_by(|a, b| a.1.total_cmp(&b.1))
        .map(|(dir, cores)| (dir.to_path_buf(), Some(cores)))
}

fn place_v2(membership: &[u8], mounts: &[u8]) -> Option<Place> {
    let path = text_lines(membership).find_map(|l| l.strip_prefix("0::"))?;
    let mount = text_lines(mounts).filter_map(Mount::parse).find(|m| m.kind == "cgroup2")?;
    mount.place(path)
}

fn place_v1(membership: &[u8], mounts: &[u8]) -> Option<Place> {
    let path = text_lines(membership).find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let controllers = parts.next()?;
        controllers.split(',').any(|c| c == "cpu").then(|| parts.next())?
    })?;
    let mut mounts = text_lines(mounts).filter_map(Mount::parse);
    mounts.find(|m| m.kind == "cgroup" && m.options.split(',').any(|o| o == "cpu"))?.place(path)
}

fn text_lines(text: &[u8]) -> impl Iterator<Item = &str> {
    text.split(|b| *b == b'\n').filter_map(|l| std::str::from_utf8(l).ok())
}

/// A line of `mountinfo`.
struct Mount<'a> {
    root: &'a str,
    point: &'a str,
    kind: &'a str,
    options: &'a str,
}

impl<'a> Mount<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        // id parent major:minor root point options [tags…] - kind source super-options
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(3);
        let mut right = right.split(' ');
        Some(Self {
            root: left.next()?,
            point: left.next()?,
            kind: right.next()?,
            options: right.nth(1).unwrap_or_default(),
        })
    }

    /// The directory of a group at `path`; `None` when it lies outside what is mounted here.
    fn place(&self, path: &str) -> Option<Place> {
        let root = if self.root == "/" { "" } else { self.root };
        let below = path.strip_prefix(root)?;
        let outside =
            path.split('/').any(|part| part == "..") || !(below.is_empty() || below.starts_with('/'));
        let mount = PathBuf::from(unescape(self.point));
        let own = mount.join(below.trim_start_matches('/'));
        // Joined with nothing a path would end in a slash, and be its own ancestor twice.
        let own = own.components().collect();
        (!outside).then_some(Place { mount, own })
    }
}

/// Blanks stand as `\040` in `mountinfo`.
fn unescape(text: &str) -> OsString {
    let octal = |code: &str| u8::from_str_radix(code.get(..3)?, 8).ok();
    let mut parts = text.split('\\');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        match octal(part).filter(u8::is_ascii) {
            Some(byte) => {
                out.push(char::from(byte));
                out.push_str(&part[3..]);
            }
            None => {
                out.push('\\');
                out.push_str(part);
            }
        }
    }
    out.into()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
31 23 0:28 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw,relatime - cgroup cgroup rw,cpu
34 31 0:31 / /sys/fs/cgroup/cpuset rw,relatime shared:7 - cgroup cgroup rw,cpuset
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw
";

    #[track_caller]
    fn check(found: Option<Place>, expected: Option<(&str, &str)>) {
        let expected = expected.map(|(mount, own)| Place { mount: mount.into(), own: own.into() });
        assert_eq!(found, expected);
    }

    #[test]
    fn places_in_both_hierarchies() {
        let own = b"9:name=systemd:/\n3:cpuset:/\n1:cpu,cpuacct:/jobs/7\n0::/user.slice\n";
        check(
            place_v2(own, HYBRID.as_bytes()),
            Some(("/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified/user.slice")),
        );
        check(place_v1(own, HYBRID.as_bytes()), Some(("/sys/fs/cgroup/cpu", "/sys/fs/cgroup/cpu/jobs/7")));
        // `cpuset` is not `cpu`.
        check(place_v1(b"3:cpuset:/\n0::/\n", HYBRID.as_bytes()), None);
        check(
            place_v2(b"0::/\n", HYBRID.as_bytes()),
            Some(("/sys/fs/cgroup/unified", "/sys/fs/cgroup/unified")),
        );
        // In a container without a name space of its own the mount shows a part of the tree.
        let part = "50 40 0:38 /docker/abc /sys/fs/cgroup ro master:11 - cgroup2 cgroup rw,nsdelegate\n";
        check(place_v2(b"0::/docker/abc/x\n", part.as_bytes()), Some(("/sys/fs/cgroup", "/sys/fs/cgroup/x")));
        check(place_v2(b"0::/docker/abc\n", part.as_bytes()), Some(("/sys/fs/cgroup", "/sys/fs/cgroup")));
        check(place_v2(b"0::/docker/abcd\n", part.as_bytes()), None);
        check(place_v2(b"0::/../outside\n", HYBRID.as_bytes()), None);
        check(place_v2(b"", HYBRID.as_bytes()), None);
        check(place_v2(b"0::/a\n", b"odd line\n"), None);
        let blank = "41 31 0:38 / /mnt/my\\040groups rw - cgroup2 cgroup2 rw\n";
        check(place_v2(b"0::/a\n", blank.as_bytes()), Some(("/mnt/my groups", "/mnt/my groups/a")));
    }

    /// A machine in a directory: `files` below its group mount; the process is in `/a/b` of version 2 or 1.
    fn machine(version: u8, files: &[(&str, &str)]) -> ControlGroup {
        let dir = tempfile::tempdir().unwrap();
        let (groups, own) = (dir.path().join("groups"), dir.path().join("self"));
        fs::create_dir_all(groups.join("a/b")).unwrap();
        fs::create_dir_all(&own).unwrap();
        let (kind, membership) = if version == 2 {
            ("cgroup2 cgroup2 rw", "0::/a/b\n")
        } else {
            ("cgroup cgroup rw,cpu", "1:cpu:/a/b\n")
        };
        fs::write(own.join("cgroup"), membership).unwrap();
        fs::write(own.join("mountinfo"), format!("41 31 0:38 / {} rw - {kind}\n", groups.display())).unwrap();
        for (name, text) in files {
            fs::write(groups.join(name), text).unwrap();
        }
        let found = ControlGroup::find(dir.path());
        // What is open stays readable without its directory.
        drop(dir);
        found
    }

    #[test]
    fn the_tightest_quota_above_the_process_holds() {
        let stat = "nr_periods 7\nnr_throttled 3\nthrottled_usec 250\n";
        let found = machine(
            2,
            &[
                ("a/cpu.max", "5000 100000\n"),
                ("a/cpu.stat", stat),
                ("a/b/cpu.max", "max 100000\n"),
                ("a/b/cpu.stat", "nr_periods 0\nnr_throttled 0\nthrottled_usec 0\n"),
                ("a/b/cpu.pressure", "some avg10=1.00 avg60=0.00 avg300=0.00 total=5\n"),
            ],
        );
        assert_eq!(found.quota_cores, Some(0.05));
        let mut buffer = crate::file::Buffer::new();
        assert_eq!(found.throttling.read(&mut buffer), Some(stat.as_bytes()), "of the group with the quota");
        assert!(parse::pressure(found.pressure.read(&mut buffer).unwrap()).is_some());
        let found = machine(
            1,
            &[
                ("a/cpu.cfs_quota_us", "150000\n"),
                ("a/cpu.cfs_period_us", "100000\n"),
                ("a/b/cpu.cfs_quota_us", "-1\n"),
                ("a/b/cpu.cfs_period_us", "100000\n"),
            ],
        );
        assert_eq!(found.quota_cores, Some(1.5));
        assert!(found.pressure.why().contains("version 2"), "{}", found.pressure.why());
    }

    #[test]
    fn without_a_quota_or_without_a_controller() {
        let free = machine(
            2,
            &[
                ("a/b/cpu.max", "max 100000\n"),
                ("a/b/cpu.stat", "nr_periods 0\nnr_throttled 0\nthrottled_usec 0\n"),
            ],
        );
        assert!(free.quota_cores.is_none() && free.throttling.is_open());
        let bare = machine(2, &[("a/b/cpu.stat", "usage_usec 5\n")]);
        assert!(bare.quota_cores.is_none() && !bare.throttling.is_open());
        assert!(bare.throttling.why().contains("no control group with a quota"), "{}", bare.throttling.why());
    }
}
