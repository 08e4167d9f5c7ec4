//! What the README says works: its configuration is read, its commands are understood, its links lead somewhere. The
//! Rust in it is compiled as a doc test of this crate.

use std::path::Path;

use clap::Parser as _;
use llms_bench::{cli::Cli, config_file::ConfigFile};

const README: &str = include_str!("../../../README.md");

/// The texts between fences of this language.
fn snippets(language: &str) -> Vec<&'static str> {
    let fence = format!("```{language}\n");
    README.split(fence.as_str()).skip(1).map(|rest| rest.split("\n```").next().unwrap()).collect()
}

#[test]
fn its_configuration_is_valid() {
    let snippets = snippets("toml");
    assert!(!snippets.is_empty());
    for text in snippets {
        let file = ConfigFile::parse(text).unwrap_or_else(|e| panic!("{}\n{text}", e.message));
        file.scenario.unwrap().validate().unwrap();
        assert!(file.targets.len() >= 2);
    }
}

#[test]
fn its_commands_are_understood() {
    let mut read = 0;
    for line in snippets("sh")
        .into_iter()
        .flat_map(|s| s.replace("\\\n", " ").lines().map(str::to_owned).collect::<Vec<_>>())
    {
        let words: Vec<&str> = line.split_whitespace().collect();
        let rest = match &words[..] {
            ["cargo", "xtask", "bench-compare", rest @ ..] => [&["llms-bench", "compare"], rest].concat(),
            ["cargo", "xtask", "bench", rest @ ..] => [&["llms-bench"], rest].concat(),
            ["llms-bench", ..] => words.clone(),
            _ => continue,
        };
        Cli::try_parse_from(&rest).unwrap_or_else(|e| panic!("{line}\n{e}"));
        read += 1;
    }
    assert!(read >= 2, "{read} commands of the README were read");
}

#[test]
fn its_links_lead_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let links: Vec<&str> = README
        .split("](")
        .skip(1)
        .filter_map(|rest| rest.split(')').next())
        .filter(|l| !l.contains("://"))
        .collect();
    assert!(!links.is_empty());
    for link in links {
        let path = link.split('#').next().unwrap();
        assert!(
            path.is_empty() || root.join(path).exists(),
            "the README links to {link}, which is not there"
        );
    }
}
