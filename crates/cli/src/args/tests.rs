use clap::{CommandFactory, Parser};

use super::Cli;

#[test]
fn the_grammar_is_consistent() {
    Cli::command().debug_assert();
}

/// The examples of every help page parse, so none of them can lie.
#[test]
fn every_example_parses() {
    fn visit(command: &clap::Command, seen: &mut usize) {
        let help = command.get_before_long_help().map(ToString::to_string).unwrap_or_default();
        for line in help.lines().filter_map(|l| l.trim().strip_prefix("strongroom ")) {
            *seen += 1;
            parse(line);
        }
        command.get_subcommands().for_each(|c| visit(c, seen));
    }
    let mut seen = 0;
    visit(&Cli::command(), &mut seen);
    assert!(seen > 25, "{seen}");
}

/// A command as it stands in help texts; words in capitals are placeholders.
fn parse(line: &str) {
    let words = words(line);
    if let Err(error) = Cli::try_parse_from(std::iter::once("strongroom".to_owned()).chain(words)) {
        let fine = matches!(
            error.kind(),
            clap::error::ErrorKind::DisplayHelp | clap::error::ErrorKind::DisplayVersion
        );
        assert!(fine, "`strongroom {line}` does not parse: {error}");
    }
}

/// Splits at blanks outside double quotes, up to a redirection, which is the shell's; NAME becomes a name, ROLE a role.
pub(crate) fn words(line: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut quoted = false;
    for c in line.split(" > ").next().unwrap().chars() {
        match c {
            '"' => quoted = !quoted,
            ' ' if !quoted => words.push(String::new()),
            c => {
                if let Some(word) = words.last_mut() {
                    word.push(c);
                }
            }
        }
    }
    words
        .into_iter()
        .filter(|w| !w.is_empty())
        .map(|w| if w == "ROLE" { "auditor".to_owned() } else { w })
        .map(|w| if w.chars().all(|c| c.is_ascii_uppercase() || c == '@') { w.to_lowercase() } else { w })
        .collect()
}

#[test]
fn typos_get_a_suggestion() {
    let error = Cli::try_parse_from(["strongroom", "tenent", "list"]).unwrap_err().to_string();
    assert!(error.contains("tenant"), "{error}");
}

#[test]
fn global_flags_stand_anywhere() {
    for line in [["-o", "json", "tenant", "list"], ["tenant", "list", "-o", "json"]] {
        let cli = Cli::try_parse_from(std::iter::once("strongroom").chain(line)).unwrap();
        assert_eq!(cli.global.output, crate::output::Format::Json);
    }
}
