//! Finding and reading runs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use llms_core::{
    Error, ErrorCode, Result,
    bench::{RunManifest, RunResult, result::SCHEMA_VERSION},
};
use serde::Deserialize;

use crate::{
    fault::{corrupt, io_error},
    reader::{RecordReader, StoredRecords, Tail},
    sink::{MANIFEST, RECORDS},
};

/// The directory of one run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunDir {
    path: PathBuf,
}

/// One line of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunEntry {
    /// Sorts by time.
    pub run_id: String,
    /// Where it is.
    pub path: PathBuf,
}

#[derive(Deserialize)]
struct Version {
    schema_version: u32,
}

impl RunDir {
    /// The run at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// The run that `name` means: a directory, an id below `root`, the unique beginning of one, or `latest`.
    ///
    /// # Errors
    /// `not_found`, naming where it was looked for.
    pub fn find(root: &Path, name: &str) -> Result<Self> {
        let direct = Path::new(name);
        if direct.join(MANIFEST).is_file() {
            return Ok(Self::at(direct));
        }
        let runs = Self::list(root)?;
        let missing = |what: String| Err(Error::new("store.find", ErrorCode::NotFound, what));
        if name == "latest" {
            return match runs.last() {
                Some(run) => Ok(Self::at(&run.path)),
                None => missing(format!(
                    "no run is kept in {}; run `llms-bench compare` first",
                    root.join("runs").display()
                )),
            };
        }
        let hits: Vec<&RunEntry> = runs.iter().filter(|r| r.run_id.starts_with(name)).collect();
        match hits[..] {
            [run] => Ok(Self::at(&run.path)),
            [] => missing(format!(
                "no run called `{name}` in {}; expected a directory, an id, or `latest`",
                root.join("runs").display()
            )),
            _ => missing(format!("{} runs begin with `{name}`; give more of the id", hits.len())),
        }
    }

    /// All runs below `root`, oldest first; none when there is no such directory.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub fn list(root: &Path) -> Result<Vec<RunEntry>> {
        let dir = root.join("runs");
        if !dir.exists() {
            return Ok(Vec::new());
        }
        let mut runs = Vec::new();
        for entry in fs::read_dir(&dir).map_err(|e| io_error("store.list", &dir, e))? {
            let path = entry.map_err(|e| io_error("store.list", &dir, e))?.path();
            if path.join(MANIFEST).is_file()
                && let Some(run_id) = path.file_name().and_then(|n| n.to_str()).map(str::to_owned)
            {
                runs.push(RunEntry { run_id, path });
            }
        }
        runs.sort_by(|a, b| a.run_id.cmp(&b.run_id));
        Ok(runs)
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Everything but the records.
    ///
    /// # Errors
    /// When it cannot be read, or was written by a newer version.
    pub fn manifest(&self) -> Result<RunManifest> {
        let path = self.path.join(MANIFEST);
        let json = fs::read(&path).map_err(|e| io_error("store.read", &path, e))?;
        let version: Version = serde_json::from_slice(&json).map_err(|e| corrupt("store.read", &path, e))?;
        if version.schema_version > SCHEMA_VERSION {
            return Err(corrupt(
                "store.read",
                &path,
                format!(
                    "written with schema {}, this program reads up to {SCHEMA_VERSION}; use a newer llms-bench",
                    version.schema_version
                ),
            ));
        }
        serde_json::from_slice(&json).map_err(|e| corrupt("store.read", &path, e))
    }

    /// The records, one by one.
    ///
    /// # Errors
    /// When the file cannot be opened or is none of ours.
    pub fn records(&self) -> Result<RecordReader> {
        RecordReader::open(&self.path.join(RECORDS))
    }

    /// Everything but the records, and where to read those: in flat memory, however many there are. A torn end makes the run
    /// incomplete, with the reason under the fact `records_tail`.
    ///
    /// # Errors
    /// When manifest or records cannot be read.
    pub fn open(&self) -> Result<(RunManifest, StoredRecords)> {
        let mut manifest = self.manifest()?;
        let (records, tail) = StoredRecords::at(self.path.join(RECORDS))?;
        torn(&mut manifest, &tail);
        Ok((manifest, records))
    }

    /// The whole run, in memory. A torn end makes it incomplete, as in [`RunDir::open`].
    ///
    /// # Errors
    /// When manifest or records cannot be read.
    pub fn load(&self) -> Result<RunResult> {
        let mut manifest = self.manifest()?;
        let mut reader = self.records()?;
        let records = reader.by_ref().collect::<Result<Vec<_>>>()?;
        torn(&mut manifest, reader.tail().unwrap_or(&Tail::Clean));
        Ok(RunResult { manifest, records })
    }
}

fn torn(manifest: &mut RunManifest, tail: &Tail) {
    if let Tail::Torn(why) = tail {
        manifest.complete = false;
        manifest.facts.insert("records_tail".to_owned(), why.clone());
    }
}
