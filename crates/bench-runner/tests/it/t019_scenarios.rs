//! T019: the built-in scenarios, the registry by name, and checks of answers.

use crate::common;

use bench_runner::ScenarioRegistry;
use common::*;
use llms_core::{
    ErrorCode,
    bench::{Load, Scenario},
};

#[test]
fn the_standard_set_is_there_and_valid() {
    let registry = ScenarioRegistry::builtin();
    let names: Vec<_> = registry.names().collect();
    assert_eq!(
        names,
        [
            "comparison",
            "complex",
            "development",
            "load",
            "long-context",
            "simple",
            "streaming",
            "tool-calling"
        ]
    );
    for scenario in registry.iter() {
        scenario.validate().unwrap_or_else(|e| panic!("{}: {e}", scenario.name));
        assert!(!scenario.description.is_empty() && !scenario.prompts.is_empty(), "{}", scenario.name);
        assert!(scenario.prompts.iter().all(|p| !p.id.is_empty()), "{}", scenario.name);
    }
    assert!(registry.get("tool-calling").unwrap().requires_tools);
    assert!(registry.get("streaming").unwrap().streaming);
    assert!(matches!(registry.get("load").unwrap().load, Load::Open { .. }));
    let longest = |name| {
        let prompts = &registry.get(name).unwrap().prompts;
        prompts.iter().map(|p| p.messages[0].text().len()).max().unwrap()
    };
    assert!(longest("long-context") > 40_000 && longest("simple") < 100);
}

#[test]
fn every_built_in_scenario_runs() {
    for scenario in ScenarioRegistry::builtin().iter() {
        let model = Scripted::new("m", |_, _| Answer::Tokens { first: 50 * MS, gap: 5 * MS, n: 10 });
        let result = simulate(&[target(&model)], scenario).unwrap();
        assert!(result.manifest.complete, "{}", scenario.name);
        assert!(result.measured(0).count() >= 10, "{}", scenario.name);
    }
}

#[test]
fn unknown_names_are_answered_with_the_known_ones() {
    let e = ScenarioRegistry::builtin().get("speed").unwrap_err();
    assert_eq!(e.code(), ErrorCode::NotFound);
    assert!(
        e.message().contains("no scenario is called `speed`") && e.message().contains("tool-calling"),
        "{e}"
    );
}

#[test]
fn own_scenarios_stand_beside_them() {
    let mut registry = ScenarioRegistry::builtin();
    let mine = Scenario { requests: Some(5), ..Scenario::new("mine", ["a", "b"]) };
    registry.register(mine.clone()).unwrap();
    assert_eq!(registry.get("mine").unwrap(), &mine);
    let taken = registry.register(mine).unwrap_err();
    assert!(taken.message().contains("`mine` exists already"), "{taken}");
    let broken = registry.register(Scenario::new("broken", [""; 0])).unwrap_err();
    assert_eq!(broken.code(), ErrorCode::InvalidConfig);
    assert_eq!(ScenarioRegistry::empty().names().count(), 0);
}
