//! Files of the kernel, opened once and read from their start again and again into one buffer: no allocation per reading.

use std::{fs::File, path::Path};

/// Longest text read: more than a `status` or a `stat` line has; what is needed of longer ones stands at their start.
const BUFFER: usize = 8 * 1024;

/// The one buffer.
#[derive(Debug)]
pub(crate) struct Buffer(Box<[u8]>);

impl Buffer {
    pub(crate) fn new() -> Self {
        Self(vec![0; BUFFER].into_boxed_slice())
    }
}

/// An open file of the kernel's, or the reason that there is none.
#[derive(Debug)]
pub(crate) struct KernelFile {
    file: Result<File, String>,
    name: String,
}

impl KernelFile {
    pub(crate) fn open(path: &Path) -> Self {
        let name = path.display().to_string();
        let file = if cfg!(unix) && (cfg!(target_os = "linux") || path.exists()) {
            File::open(path).map_err(|e| format!("cannot read {name}: {e}"))
        } else {
            Err(format!("not available on this platform: {name} is Linux's"))
        };
        Self { file, name }
    }

    /// A file that cannot be named, because of `reason`.
    pub(crate) fn none(reason: &str) -> Self {
        Self { file: Err(reason.to_owned()), name: String::new() }
    }

    /// Its text now; `None` when it is not there or cannot be read.
    pub(crate) fn read<'b>(&self, buffer: &'b mut Buffer) -> Option<&'b [u8]> {
        let n = read_at_start(self.file.as_ref().ok()?, &mut buffer.0)?;
        Some(&buffer.0[..n])
    }

    /// Size that the kernel gives it now.
    pub(crate) fn size(&self) -> Option<u64> {
        Some(self.file.as_ref().ok()?.metadata().ok()?.len())
    }

    pub(crate) fn is_open(&self) -> bool {
        self.file.is_ok()
    }

    /// Why there is no reading.
    pub(crate) fn why(&self) -> String {
        match &self.file {
            Ok(_) => format!("{} does not say it in a form known here", self.name),
            Err(reason) => reason.clone(),
        }
    }

    #[cfg(target_os = "linux")]
    fn descriptor(&self) -> Option<&File> {
        self.file.as_ref().ok()
    }
}

#[cfg(unix)]
fn read_at_start(file: &File, buffer: &mut [u8]) -> Option<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, 0).ok()
}

#[cfg(not(unix))]
fn read_at_start(_: &File, _: &mut [u8]) -> Option<usize> {
    None
}

/// An open directory of the kernel's whose entries are numbers.
#[derive(Debug)]
pub(crate) struct KernelDir {
    dir: KernelFile,
    #[cfg(target_os = "linux")]
    entries: Vec<u8>,
}

impl KernelDir {
    pub(crate) fn open(path: &Path) -> Self {
        Self {
            dir: KernelFile::open(path),
            #[cfg(target_os = "linux")]
            entries: Vec::with_capacity(BUFFER),
        }
    }

    pub(crate) fn file(&self) -> &KernelFile {
        &self.dir
    }

    /// Hands over every number; `None` when the directory cannot be listed.
    #[cfg(target_os = "linux")]
    pub(crate) fn each(&mut self, mut found: impl FnMut(&Entry<'_>)) -> Option<()> {
        use rustix::fs::{RawDir, SeekFrom, seek};
        let dir = self.dir.descriptor()?;
        seek(dir, SeekFrom::Start(0)).ok()?;
        let mut entries = RawDir::new(dir, self.entries.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            let entry = entry.ok()?;
            if let Some(number) = crate::parse::directory_number(entry.file_name().to_bytes()) {
                found(&Entry { number, dir });
            }
        }
        Some(())
    }

    /// No directory of the kernel's here.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn each(&mut self, _: impl FnMut(&Entry<'_>)) -> Option<()> {
        None
    }
}

/// One number in a [`KernelDir`].
pub(crate) struct Entry<'a> {
    pub(crate) number: u32,
    #[cfg(target_os = "linux")]
    dir: &'a File,
    #[cfg(not(target_os = "linux"))]
    dir: std::marker::PhantomData<&'a ()>,
}

impl Entry<'_> {
    /// The text of a file below it, `None` when the thread is already gone. `file`: up to 16 bytes.
    #[cfg(target_os = "linux")]
    pub(crate) fn read<'b>(&self, file: &str, buffer: &'b mut Buffer) -> Option<&'b [u8]> {
        use std::{ffi::CStr, io::Write};

        use rustix::fs::{Mode, OFlags, openat};
        let mut path = [0_u8; 32];
        // The slice keeps the last byte zero whatever is written.
        write!(&mut path[..31], "{}/{file}", self.number).ok()?;
        let path = CStr::from_bytes_until_nul(&path).ok()?;
        let opened = openat(self.dir, path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()?;
        let n = read_at_start(&File::from(opened), &mut buffer.0)?;
        Some(&buffer.0[..n])
    }

    /// No such file here.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn read<'b>(&self, _: &str, _: &'b mut Buffer) -> Option<&'b [u8]> {
        let Self { dir: std::marker::PhantomData, .. } = self;
        None
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_anew_each_time_and_an_absent_one_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("counter");
        std::fs::write(&path, "1\n").unwrap();
        let (file, mut buffer) = (KernelFile::open(&path), Buffer::new());
        assert_eq!(file.read(&mut buffer), Some(&b"1\n"[..]));
        std::fs::write(&path, "25\n").unwrap();
        assert_eq!(file.read(&mut buffer), Some(&b"25\n"[..]));
        let absent = KernelFile::open(&dir.path().join("nothing"));
        assert_eq!(absent.read(&mut buffer), None);
        assert!(absent.why().contains("nothing: No such file"), "{}", absent.why());
    }

    #[test]
    fn numbered_entries_are_listed_each_time_anew_and_a_lost_one_is_none() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["7", "19", "self"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
            std::fs::write(dir.path().join(name).join("schedstat"), name).unwrap();
        }
        let (mut tasks, mut buffer) = (KernelDir::open(dir.path()), Buffer::new());
        for _ in 0..2 {
            let mut found = Vec::new();
            let listed = tasks.each(|entry| {
                assert_eq!(
                    entry.read("schedstat", &mut buffer).unwrap(),
                    entry.number.to_string().as_bytes()
                );
                assert_eq!(entry.read("nothing", &mut buffer), None);
                found.push(entry.number);
            });
            found.sort_unstable();
            assert_eq!((listed, found), (Some(()), vec![7, 19]));
        }
        assert_eq!(KernelDir::open(&dir.path().join("nothing")).each(|_| {}), None);
    }
}
