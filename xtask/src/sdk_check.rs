//! `cargo xtask sdk-check`: the vendors' own SDKs, unchanged, against the simulated vendors.
//!
//! Installs the SDKs into a directory of their own (versions pinned in `tests/sdk-check/`), starts the release binary's
//! `mock serve` on a free port and, for what plain HTTP cannot show, the same server with HTTPS and AWS credentials; runs
//! the scripts of `tests/sdk-check/` against both and sums up what they print. Opt-in: it needs Python, Node and the
//! network; no other step calls it. Says nothing itself about protocols.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool talks to its terminal")]

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, Stdio},
    thread,
};

use clap::{Args, ValueEnum};

use crate::process;

/// The AWS credentials that the server with HTTPS knows; made up.
const PAIR: &str = "AKIDEXAMPLE:sdk-check-secret";

/// How to check.
#[derive(Args)]
pub(crate) struct SdkCheck {
    /// Where the SDKs are installed and kept between calls [default: sdk-check below the target directory].
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Only the SDKs of this language.
    #[arg(long, value_enum)]
    only: Option<Language>,
    /// Only checks whose name contains this.
    #[arg(long, value_name = "TEXT", default_value = "")]
    filter: String,
    /// A server that runs already, instead of a fresh `llms-bench mock serve`.
    #[arg(long, value_name = "URL")]
    base_url: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Language {
    Python,
    Node,
}

/// What the scripts said.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    skipped: Vec<String>,
}

/// Why a language's checks did not run.
enum Missing {
    /// A tool is not there; what to install.
    Tool(String),
    /// It is there and failed.
    Failed(String),
}

/// The servers to check against, and what the scripts must know of them.
struct Servers {
    url: String,
    /// Base URL and certificate of one with HTTPS that checks signatures.
    secure: Option<(String, PathBuf)>,
    running: Vec<Server>,
}

impl SdkCheck {
    pub(crate) fn run(&self) -> ExitCode {
        let dir = self.dir.clone().unwrap_or_else(|| process::target_dir().join("sdk-check"));
        let servers = match self.servers(&dir) {
            Ok(servers) => servers,
            Err(code) => return code,
        };
        let mut tally = Tally::default();
        for language in [Language::Python, Language::Node] {
            if self.only.is_none_or(|only| only == language) {
                self.check(language, &dir, &servers, &mut tally);
            }
        }
        if servers.secure.is_none() {
            tally.skipped.push("https: the server given has none; call without --base-url".to_owned());
        }
        drop(servers.running);
        for skipped in &tally.skipped {
            println!("skipped {skipped}");
        }
        println!("{} passed, {} failed", tally.passed, tally.failed);
        // Nothing checked is nothing shown.
        if tally.failed == 0 && tally.passed > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }

    fn servers(&self, dir: &Path) -> Result<Servers, ExitCode> {
        if let Some(url) = self.base_url.clone() {
            return Ok(Servers { url, secure: None, running: Vec::new() });
        }
        process::build_binary()?;
        let certificate = dir.join("certificate.pem");
        if let Err(e) = fs::create_dir_all(dir) {
            eprintln!("cannot write to {}: {e}", dir.display());
            return Err(ExitCode::from(2));
        }
        let serve = || {
            let mut command = Command::new(process::binary_path());
            command.args(["mock", "serve", "--port", "0", "--seed", "1"]);
            command
        };
        let (first, address) = start(&mut serve())?;
        let (id, secret) = PAIR.split_once(':').expect("invariant: a pair");
        let mut secure = serve();
        secure.args(["--aws-key-id", id, "--aws-secret", secret, "--tls", "--tls-cert"]).arg(&certificate);
        let (second, secure) = start(&mut secure)?;
        let secure = Some((format!("https://{secure}"), certificate));
        Ok(Servers { url: format!("http://{address}"), secure, running: vec![first, second] })
    }

    fn check(&self, language: Language, dir: &Path, servers: &Servers, tally: &mut Tally) {
        let (name, prepared) = match language {
            Language::Python => ("python", python(&dir.join("python"))),
            Language::Node => ("node", node(&dir.join("node"))),
        };
        match prepared {
            Ok(mut script) => {
                script.arg(&servers.url).args(["--filter", &self.filter]);
                if let Some((url, certificate)) = &servers.secure {
                    script.args(["--https", url, "--pair", PAIR]);
                    for variable in ["SSL_CERT_FILE", "AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"] {
                        script.env(variable, certificate);
                    }
                }
                process::say(&format!("{name} SDKs against {}", servers.url));
                if let Err(e) = listen(&mut script, tally) {
                    println!("FAILED  {name}: {e}");
                    tally.failed += 1;
                }
            }
            Err(Missing::Tool(install)) => tally.skipped.push(format!("{name}: {install}")),
            Err(Missing::Failed(why)) => {
                println!("FAILED  {name}: {why}");
                tally.failed += 1;
            }
        }
    }
}

/// Where the scripts are.
fn scripts() -> PathBuf {
    process::root().join("tests").join("sdk-check")
}

/// Runs a script, repeats its lines and counts them.
fn listen(script: &mut Command, tally: &mut Tally) -> Result<(), String> {
    let what = script.get_program().to_string_lossy().into_owned();
    let mut child = script.stdout(Stdio::piped()).spawn().map_err(|e| format!("cannot run {what}: {e}"))?;
    let output = child.stdout.take().expect("invariant: standard output is piped");
    let mut summed = false;
    for line in BufReader::new(output).lines() {
        let line = line.map_err(|e| format!("cannot read what {what} prints: {e}"))?;
        match line.split_whitespace().next() {
            Some("ok") => tally.passed += 1,
            Some("FAILED") => tally.failed += 1,
            // The script's own sum, its last line; the sum of all is printed at the end.
            _ if line.ends_with(" failed") => {
                summed = true;
                continue;
            }
            _ => {}
        }
        println!("{line}");
    }
    let status = child.wait().map_err(|e| format!("cannot wait for {what}: {e}"))?;
    if summed { Ok(()) } else { Err(format!("{what} ended with {status} before its sum")) }
}

fn python(dir: &Path) -> Result<Command, Missing> {
    let has_venv = quiet(Command::new("python3").args(["-c", "import venv, ensurepip"]));
    if !has_venv {
        return Err(Missing::Tool(
            "python3 with its module venv is not here; install Python 3.10 or newer".to_owned(),
        ));
    }
    let bin = dir.join(if cfg!(windows) { "Scripts" } else { "bin" }).join("python");
    let requirements = scripts().join("requirements.txt");
    let wanted = [&requirements, &process::root().join("tests/sdk-truth/requirements.txt")]
        .map(|path| fs::read_to_string(path).unwrap_or_default())
        .concat();
    install(dir, &wanted, || {
        step(Command::new("python3").args(["-m", "venv", "--clear"]).arg(dir))?;
        let mut pip = Command::new(&bin);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]);
        step(pip.arg(&requirements))
    })?;
    let mut script = Command::new(bin);
    script.arg(scripts().join("check.py")).env("PYTHONDONTWRITEBYTECODE", "1");
    Ok(script)
}

fn node(dir: &Path) -> Result<Command, Missing> {
    let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
    for tool in ["node", npm] {
        if !quiet(Command::new(tool).arg("--version")) {
            return Err(Missing::Tool(format!("{tool} is not here; install Node.js 20 or newer with npm")));
        }
    }
    // Modules are looked for beside the script: it is copied to where they are.
    let failed = |e: std::io::Error| Missing::Failed(format!("cannot write {}: {e}", dir.display()));
    fs::create_dir_all(dir).map_err(failed)?;
    for entry in fs::read_dir(scripts()).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default();
        if name == "package.json" || path.extension().is_some_and(|e| e == "mjs") {
            fs::copy(&path, dir.join(name)).map_err(failed)?;
        }
    }
    let wanted = fs::read_to_string(dir.join("package.json")).map_err(failed)?;
    install(dir, &wanted, || {
        let flags = ["install", "--no-package-lock", "--no-audit", "--no-fund", "--loglevel=error"];
        step(Command::new(npm).args(flags).current_dir(dir))
    })?;
    let mut script = Command::new("node");
    script.arg(dir.join("check.mjs"));
    Ok(script)
}

/// Installs unless the same versions were installed before: `wanted` is kept in a file beside them.
fn install(dir: &Path, wanted: &str, run: impl FnOnce() -> Result<(), String>) -> Result<(), Missing> {
    let stamp = dir.join("installed.txt");
    if fs::read_to_string(&stamp).is_ok_and(|have| have == wanted) {
        return Ok(());
    }
    process::say(&format!("installing SDKs into {}", dir.display()));
    run().map_err(Missing::Failed)?;
    fs::write(&stamp, wanted).map_err(|e| Missing::Failed(format!("cannot write {}: {e}", stamp.display())))
}

fn step(command: &mut Command) -> Result<(), String> {
    let what = command.get_program().to_string_lossy().into_owned();
    match command.stdout(Stdio::null()).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("the SDKs cannot be installed: {what} ended with {status}")),
        Err(e) => Err(format!("cannot run {what}: {e}")),
    }
}

fn quiet(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|s| s.success())
}

/// Simulated vendors, ended with this.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended by itself, with Ctrl-C for one.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Starts a server, which says in its first line where it listens.
fn start(command: &mut Command) -> Result<(Server, String), ExitCode> {
    let what = command.get_program().to_string_lossy().into_owned();
    let fail = |why: String| {
        eprintln!("{what}: {why}");
        ExitCode::from(2)
    };
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(|e| fail(format!("cannot run: {e}")))?;
    let mut lines = BufReader::new(child.stdout.take().expect("invariant: standard output is piped")).lines();
    let server = Server(child);
    let first = lines.next().and_then(Result::ok).unwrap_or_default();
    let Some(address) = address_in(&first) else {
        return Err(fail(format!("did not say where it listens: {first:?}")));
    };
    // Read on, so that it never waits for us.
    thread::spawn(move || lines.for_each(drop));
    Ok((server, address.to_owned()))
}

/// The address in `simulated vendors on 127.0.0.1:8399 (seed 1); …`, also where it is part of a URL.
fn address_in(line: &str) -> Option<&str> {
    let is_address = |word: &&str| word.parse::<std::net::SocketAddr>().is_ok();
    line.split_whitespace().filter_map(|word| word.split("://").last()?.split('/').next()).find(is_address)
}

#[cfg(test)]
mod tests {
    use super::address_in;

    #[test]
    fn the_address_is_found() {
        for (line, address) in [
            ("simulated vendors on 127.0.0.1:8399 (seed 1); Ctrl-C ends them", Some("127.0.0.1:8399")),
            ("openai     https://127.0.0.1:8399/v1", Some("127.0.0.1:8399")),
            ("listening at http://[::1]:80 now", Some("[::1]:80")),
            ("cannot serve", None),
        ] {
            assert_eq!(address_in(line), address, "{line}");
        }
    }
}
