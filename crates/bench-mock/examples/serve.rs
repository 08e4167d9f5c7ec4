//! The simulated vendors until Enter is pressed:
//! `cargo run --release -p bench-mock --example serve -- 8123 [profiles.json [KEY_ID:SECRET [certificate.pem]]]`.
//! With a pair of AWS credentials signatures are checked; with a certificate's file it serves HTTPS and writes it there.
//! (`llms-bench mock serve` is the same with options.)
#![allow(clippy::print_stdout)] // an example talks to its user

use bench_mock::server::{AwsCredentials, Protocol, ServerConfig, Tls};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::args().nth(1).unwrap_or_else(|| "0".to_owned()).parse()?;
    let pair = std::env::args().nth(3);
    let pair = pair.as_deref().and_then(|p| p.split_once(':'));
    let mut config = ServerConfig {
        aws_credentials: pair.map(|(id, secret)| AwsCredentials::new(id, secret)),
        tls: std::env::args().nth(4).map(|f| Tls { certificate_file: Some(f.into()), ..Tls::default() }),
        bind: ([127, 0, 0, 1], port).into(),
        ..ServerConfig::default()
    };
    if let Some(path) = std::env::args().nth(2) {
        config = config.merge_profiles(serde_json::from_str(&std::fs::read_to_string(path)?)?)?;
    }
    let server = config.start()?;
    for protocol in Protocol::ALL {
        println!("{protocol:<10} {}", server.base_url(protocol));
    }
    println!("press Enter to stop");
    std::io::stdin().read_line(&mut String::new())?;
    println!("{} answers", server.truth_log().total());
    Ok(server.shutdown()?)
}
