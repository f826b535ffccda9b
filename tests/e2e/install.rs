//! An image that is made by an installer. No CentOS can be had here, so the installer is a stand-in: Debian's kernel, and an
//! init that reads the kickstart from its initrd, fetches a file from the tree over HTTP, fills the disk and powers off.
//! Everything around it is real: the tree, the injected kickstart, the machine, the wait, the cut, the seal, the failures.

use super::bench::{Bench, Source};
use pgxc_lab::image::{Entry, initrd_with};
use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

const LAB: &str = "name: install\nimage: centos-5.9\nnodes:\n  - {name: a, address: 192.168.122.10, roles: []}\n";

/// Sectors before the only partition of the installed disk.
const START: u32 = 63;

/// Begins as the guests' own initrd does, and ends the machine in any case.
const INIT: &str = r#"#!/bin/busybox sh
busybox mount -t devtmpfs dev /dev
busybox mount -t proc proc /proc
busybox mount -t sysfs sys /sys
while read -r module; do busybox insmod "/m/$module"; done </m/order
busybox insmod /m/virtio_net.ko 2>/dev/null
install() {
    busybox grep -q '^part / --fstype ext3' /ks.cfg || return 1
    url=$(busybox sed -n 's/^url --url //p' /ks.cfg)
    busybox ip link set eth0 up && busybox ip addr add 10.0.2.15/24 dev eth0 || return 1
    busybox wget -q -O /release "$url/RELEASE" || return 1
    busybox cat /disk >/dev/vda && busybox blockdev --rereadpt /dev/vda || return 1
    busybox mount -t ext4 /dev/vda1 /root || return 1
    busybox cp /ks.cfg /release /root/ && HOW || return 1
    busybox umount /root
}
install && echo "the stand-in installed" || echo "the stand-in failed"
END
busybox poweroff -f
"#;

/// A tree of the stand-in.
struct Tree {
    directory: tempfile::TempDir,
    kernel: PathBuf,
    initrd: Vec<u8>,
}

impl Tree {
    /// From any image of the cache.
    fn new(bench: &Bench) -> Tree {
        let images = bench.home().join("cache/images");
        let found = || {
            let entries = fs::read_dir(&images).into_iter().flatten().flatten().map(|entry| entry.path());
            entries.into_iter().find(|path| {
                path.join("manifest.json").exists()
                    && path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("debian-12-"))
            })
        };
        let image = found().unwrap_or_else(|| {
            bench.run(&["image", "build", "debian-12"]).succeeded();
            found().expect("it was built")
        });
        let directory = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(directory.path().join("images/pxeboot")).expect("a directory");
        fs::write(directory.path().join("RELEASE"), "a stand-in\n").expect("a file");
        let initrd = fs::read(image.join("initrd.img")).expect("it has one");
        let kernel = directory.path().join("images/pxeboot/vmlinuz");
        fs::copy(image.join("vmlinuz"), &kernel).expect("a kernel");
        Tree { kernel, initrd, directory }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// An installer that ends its work in this way, and then its life in that.
    fn installs(&self, how: &str, end: &str) {
        let init = INIT.replace("HOW", how).replace("END", end);
        let disk = disk(&self.path("part"), &self.kernel);
        let files = [
            Entry { path: "init", mode: 0o755, content: init.as_bytes() },
            Entry { path: "disk", mode: 0o644, content: &disk },
        ];
        let initrd = initrd_with(self.initrd.clone(), &files);
        fs::write(self.path("images/pxeboot/initrd.img"), initrd).expect("an initrd");
    }
}

/// What an installer leaves on a disk: a table, and a root with a kernel and its initrd.
fn disk(part: &Path, kernel: &Path) -> Vec<u8> {
    let tree = tempfile::tempdir().expect("a directory");
    for directory in ["boot", "etc"] {
        fs::create_dir(tree.path().join(directory)).expect("a directory");
    }
    let start = fs::read(kernel).expect("a kernel")[..4096].to_vec();
    fs::write(tree.path().join("boot/vmlinuz-2.6.18-348.el5"), start).expect("a file");
    fs::write(tree.path().join("boot/initrd-2.6.18-348.el5.img"), "an initrd").expect("a file");
    let made = Command::new("mke2fs")
        .args(["-q", "-F", "-t", "ext3", "-d"])
        .arg(tree.path())
        .arg(part)
        .arg("8192k")
        .output()
        .expect("mke2fs is there");
    assert!(made.status.success(), "{made:?}");
    let root = fs::read(part).expect("a filesystem");
    let mut disk = vec![0; START as usize * 512];
    disk[446 + 4] = 0x83;
    disk[446 + 8..446 + 12].copy_from_slice(&START.to_le_bytes());
    disk[446 + 12..446 + 16].copy_from_slice(&(root.len() as u32 / 512).to_le_bytes());
    disk[510..512].copy_from_slice(&[0x55, 0xaa]);
    disk.extend(root);
    disk
}

#[test]
fn an_installer_fills_a_disk_and_what_it_leaves_is_sealed() {
    let bench = Bench::new(LAB, Source::None);
    // A cache of its own: no image of a stand-in may be taken for the real one.
    let tree = Tree::new(&bench);
    let own = bench.home();
    fs::remove_file(own.join("cache")).and_then(|()| fs::create_dir(own.join("cache"))).expect("a cache");
    let tree_path = tree.directory.path().display().to_string();
    let build = |path: &str| bench.run_with(&["image", "build", "centos-5.9"], &[("CENTOS_TREE", path)]);

    tree.installs("busybox touch /root/etc/pgxc-lab-image", "");
    let ran = build(&tree_path);
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let images = own.join("cache/images");
    let image = fs::read_dir(&images).expect("a cache").flatten().map(|entry| entry.path()).find(|path| path.is_dir());
    let image = image.expect("an image");
    let looked = |request: &str| {
        let output = Command::new("debugfs").args(["-R", request]).arg(image.join("root.ext4")).output();
        String::from_utf8_lossy(&output.expect("debugfs is there").stdout).into_owned()
    };
    assert_eq!(looked("cat /release"), "a stand-in\n", "it came from the tree");
    let kickstart = looked("cat /ks.cfg");
    assert!(kickstart.contains("\ngroupadd -g 500 'pgxc'\n") && kickstart.contains("\nlrzsz\n"), "{kickstart}");
    assert_eq!(fs::read_to_string(image.join("initrd.img")).expect("an initrd"), "an initrd");
    assert_eq!(fs::read(image.join("vmlinuz")).expect("a kernel").len(), 4096);
    let label = Command::new("e2label").arg(image.join("root.ext4")).output().expect("e2label is there").stdout;
    assert_eq!(String::from_utf8_lossy(&label).trim(), "pgxc-root");
    assert!(fs::metadata(image.join("root.ext4")).expect("a root").permissions().readonly());
    // It is there now.
    assert_eq!(build("/nowhere").code, Some(0));

    fs::remove_dir_all(&images).expect("it can be removed");
    let failed = |how: &str, end: &str, expected: &[&str]| {
        tree.installs(how, end);
        let ran = build(&tree_path);
        assert_eq!(ran.code, Some(5), "{}", ran.stderr);
        for words in expected {
            assert!(ran.stderr.contains(words), "`{words}` is missing in\n{}", ran.stderr);
        }
        let left = fs::read_dir(&images).expect("a cache").flatten().count();
        assert_eq!(left, 0, "something half made is left");
    };
    failed("true", "", &["powered off, but not all of its last part was done", "the whole log is"]);
    failed(
        "false",
        "echo 'Kernel panic - not syncing'; busybox sleep 600",
        &["the installer failed: it says \"Kernel panic\"", "the stand-in failed"],
    );
    fs::remove_file(tree.path("images/pxeboot/initrd.img")).expect("it was there");
    let ran = build(&tree_path);
    assert_eq!(ran.code, Some(5), "{}", ran.stderr);
    for words in ["gives no `images/pxeboot/initrd.img`", "CENTOS_TREE=/mnt/dvd"] {
        assert!(ran.stderr.contains(words), "`{words}` is missing in\n{}", ran.stderr);
    }
}
