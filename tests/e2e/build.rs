//! What a build in an image's own root is given. The root is this machine's, which no build can change: it sees it through an
//! overlay.

use pgxc_lab::{
    config, digest,
    engine::Build,
    host::Home,
    image::{Image, ImageDefinition},
    kit::{Kit, Tarballs},
    source::Source,
};
use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
};

/// Installs what it was given.
const SCRIPT: &str = r#"
mkdir -p "$OUT$PREFIX/bin"
cp "$SOURCE" "$OUT$PREFIX/bin/engine"
if [ -n "$FLEX_SOURCE" ]; then cp "$FLEX_SOURCE" "$OUT$PREFIX/bin/flex"; echo "flex 2.5.35: built from source"; fi
echo "version of no interest"
touch /changed
"#;

fn package(path: PathBuf) -> Source {
    fs::write(&path, format!("the package {}\n", path.display())).expect("a file");
    let digest = digest::of_file(&path).expect("it can be read");
    Source { path, digest, place: "here".into() }
}

/// A file of an engine's disk.
fn on_disk(disk: &Path, name: &str) -> String {
    let output = Command::new("debugfs").arg("-R").arg(format!("cat /bin/{name}")).arg(disk).output();
    String::from_utf8_lossy(&output.expect("debugfs is there").stdout).into_owned()
}

#[tokio::test]
async fn a_build_has_the_source_of_flex_where_it_is_used() {
    let directory = tempfile::tempdir_in("/var/tmp").expect("a directory");
    let path = |name: &str| directory.path().join(name);
    let lab = config::load(Path::new("lab.yaml")).unwrap_or_else(|problems| panic!("{problems}")).lab;
    let home = Home::new(path("home"));
    let definition = ImageDefinition::find("centos-5.9").expect("it is part of the program");
    let image = Image::new(&home, definition, &[], &lab.guest);
    fs::create_dir_all(image.root().parent().expect("it is in a directory")).expect("a directory");
    symlink("/", image.root()).expect("a link");

    for flex in [None, Some(package(path("flex.tar.bz2")))] {
        let build =
            Build { packages: Vec::new(), script: SCRIPT.into(), prefix: "/opt/pgxc".into(), options: Vec::new() };
        let tarballs = Tarballs { engine: package(path("engine.tar.gz")), flex: flex.clone() };
        let kit = Kit::new(&home, build, tarballs.clone(), &image);
        kit.ensure(&path("log")).await.unwrap_or_else(|error| panic!("{error}"));
        let read = |source: &Source| fs::read_to_string(&source.path).expect("it is there");
        assert_eq!(on_disk(&kit.disk(), "engine"), read(&tarballs.engine));
        assert_eq!(on_disk(&kit.disk(), "flex"), flex.as_ref().map(read).unwrap_or_default());
        let facts: &[&str] = if flex.is_some() { &["flex 2.5.35: built from source"] } else { &[] };
        assert_eq!(kit.facts(), facts);
    }
    assert!(!Path::new("/changed").exists() && !Path::new("/flex.tar").exists(), "the root was changed");
}
