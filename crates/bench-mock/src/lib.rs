//! Simulated vendors: four protocols on loopback with scripted delays, faults and a truth log, and an in-process model
