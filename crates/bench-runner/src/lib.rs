//! Scenario to RunResult: schedule, pacing, interleaved execution, recording
