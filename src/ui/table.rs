//! Aligned columns of text.

use std::fmt;

/// Space between two columns.
const GAP: &str = "  ";

/// A table: a header and rows, each column as wide as its widest cell.
#[derive(Clone, Debug)]
pub struct Table {
    columns: Vec<Column>,
    rows: Vec<Vec<String>>,
}

#[derive(Clone, Debug)]
struct Column {
    header: String,
    align: Align,
}

#[derive(Clone, Copy, Debug)]
enum Align {
    Left,
    Right,
}

impl Table {
    /// A table without columns.
    pub fn new() -> Table {
        Table { columns: Vec::new(), rows: Vec::new() }
    }

    /// Adds a column of texts.
    pub fn left(self, header: impl Into<String>) -> Table {
        self.column(header.into(), Align::Left)
    }

    /// Adds a column of numbers.
    pub fn right(self, header: impl Into<String>) -> Table {
        self.column(header.into(), Align::Right)
    }

    fn column(mut self, header: String, align: Align) -> Table {
        self.columns.push(Column { header, align });
        self
    }

    /// Adds a row; missing cells are empty.
    pub fn row<T: Into<String>>(&mut self, cells: impl IntoIterator<Item = T>) {
        self.rows.push(cells.into_iter().map(Into::into).collect());
    }

    fn width(&self, index: usize, column: &Column) -> usize {
        let cells = self.rows.iter().filter_map(|row| row.get(index)).map(|cell| cell.chars().count());
        cells.chain([column.header.chars().count()]).max().unwrap_or(0)
    }
}

impl Default for Table {
    fn default() -> Table {
        Table::new()
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let widths: Vec<usize> =
            self.columns.iter().enumerate().map(|(index, column)| self.width(index, column)).collect();
        let header: Vec<String> = self.columns.iter().map(|column| column.header.clone()).collect();
        // A table whose columns have no names has no header line.
        let header = Some(&header).filter(|header| header.iter().any(|name| !name.is_empty()));
        for row in header.into_iter().chain(&self.rows) {
            let mut line = String::new();
            for (index, column) in self.columns.iter().enumerate() {
                let cell = row.get(index).map_or("", String::as_str);
                let width = widths[index];
                line.push_str(if index == 0 { "" } else { GAP });
                match column.align {
                    Align::Left => line.push_str(&format!("{cell:<width$}")),
                    Align::Right => line.push_str(&format!("{cell:>width$}")),
                }
            }
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new().left("NODE").left("ROLES").right("MEMORY").left("STATE");
        table.row(["db1", "gtm", "512 MiB", "running"]);
        table.row(["db-192-168-122-172", "gtm_standby", "1.5 GiB"]);
        assert_eq!(
            table.to_string(),
            "\
NODE                ROLES         MEMORY  STATE
db1                 gtm          512 MiB  running
db-192-168-122-172  gtm_standby  1.5 GiB
"
        );
    }

    #[test]
    fn a_table_may_have_no_header() {
        let mut table = Table::new().right("").left("");
        table.row(["1", "boot"]);
        table.row(["12", "mount"]);
        assert_eq!(table.to_string(), " 1  boot\n12  mount\n");
    }
}
