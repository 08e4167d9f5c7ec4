//! Comma-separated values as RFC 4180 has them: quoted fields, doubled quotes, line breaks inside quotes, CRLF or LF.

/// A row with the line it begins on, from 1.
pub(super) type Row = (usize, Vec<String>);

/// All rows but empty lines; the number of the line of a quote that is never closed when there is one.
pub(super) fn parse(text: &str) -> Result<Vec<Row>, usize> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let (mut rows, mut row, mut field) = (Vec::new(), Vec::new(), String::new());
    let (mut line, mut begins) = (1, 1);
    let (mut quoted, mut was_quoted) = (None, false);
    let mut chars = text.chars().peekable();
    loop {
        let c = chars.next();
        match (c, quoted) {
            (None, Some(at)) => return Err(at),
            (Some('"'), Some(_)) if chars.peek() == Some(&'"') => {
                chars.next();
                field.push('"');
            }
            (Some('"'), Some(_)) => quoted = None,
            (Some(c), Some(_)) => {
                line += usize::from(c == '\n');
                field.push(c);
            }
            (Some('"'), None) if field.is_empty() => (quoted, was_quoted) = (Some(line), true),
            (Some(','), None) => {
                row.push(std::mem::take(&mut field));
                was_quoted = false;
            }
            (Some('\r'), None) if chars.peek() == Some(&'\n') => {}
            (Some('\n') | None, None) => {
                if !row.is_empty() || !field.is_empty() || was_quoted {
                    row.push(std::mem::take(&mut field));
                    rows.push((begins, std::mem::take(&mut row)));
                }
                was_quoted = false;
                line += 1;
                begins = line;
                if c.is_none() {
                    return Ok(rows);
                }
            }
            (Some(c), None) => field.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[(usize, &[&str])]) {
        let rows = parse(text).unwrap();
        let rows: Vec<(usize, Vec<&str>)> =
            rows.iter().map(|(n, r)| (*n, r.iter().map(String::as_str).collect())).collect();
        let expected: Vec<_> = expected.iter().map(|(n, r)| (*n, r.to_vec())).collect();
        assert_eq!(rows, expected);
    }

    #[test]
    fn rows_and_quotes() {
        check("a,b\n1,2\n", &[(1, &["a", "b"]), (2, &["1", "2"])]);
        check("\u{feff}a,b\r\n1,\r\n", &[(1, &["a", "b"]), (2, &["1", ""])]);
        check("\n\nx\n", &[(3, &["x"])]);
        check("\"a,\"\"b\"\"\nc\",d\ne,f", &[(1, &["a,\"b\"\nc", "d"]), (3, &["e", "f"])]);
        check("\"\"\n", &[(1, &[""])]);
        check("", &[]);
        assert_eq!(parse("a\n\"b\n\n"), Err(2));
    }
}
