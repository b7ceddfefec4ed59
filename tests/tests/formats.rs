// SPDX-License-Identifier: GPL-3.0-or-later
//! Images that are no squashfs: erofs and ext4 boot too, recognised by content; one of them without a .torrent.

use anyhow::{Result, ensure};
use boottorrent_tests::{
    BOOT, Lab, MULTI_USER, Server, Vm,
    assets::{self, APPEND, Suite},
    little_memory,
};

#[test]
fn erofs_and_ext4_boot() -> Result<()> {
    let image = assets::image(Suite::own()?)?;
    let folder = assets::small_roots(&image)?;
    let lab = Lab::new("formats")?;
    let mut server = Server::start(&lab, &image, &[])?;
    let formats = ["erofs", "ext4"];
    for format in formats {
        let (payload, kernel, initrd) = (folder.join(format), image.kernel(), image.initrd());
        let [payload, kernel, initrd] = [&payload, &kernel, &initrd].map(|p| p.to_string_lossy());
        let files = ["--kernel", &kernel, "--initrd", &initrd];
        server.boottorrent(&[&["image", "add", &payload, "--name", format], &files[..]].concat())?;
    }
    server.restart(&[])?;
    // One of them by a magnet link alone: the server's seeder has the metainfo.
    let hash = server.image("ext4")?.infohash;
    let boot = |format: &&str| {
        let which = match *format {
            "ext4" => {
                format!("boottorrent.torrent=magnet:?xt=urn:btih:{hash} boottorrent.server={}", Lab::SERVER)
            }
            // The other with its writes compressed.
            name => format!("boottorrent.image={name} boottorrent.overlay=zram"),
        };
        let append = format!("{APPEND} boot=boottorrent ip=dhcp {which}");
        Vm::direct(format, &image.kernel(), &image.initrd(), &append).start(&lab)
    };
    let mut machines = formats.iter().map(boot).collect::<Result<Vec<_>>>()?;
    for (vm, format) in machines.iter_mut().zip(formats) {
        vm.expect(MULTI_USER, BOOT)?;
        vm.login()?;
        let lower = vm.sh("grep ' /run/boottorrent/lower ' /proc/self/mounts")?;
        ensure!(lower.contains(&format!(" {format} ro")), "{lower}");
        if format == "erofs" {
            let zram = vm.sh("grep -c '^/dev/zram. /run/boottorrent/overlay ext4' /proc/self/mounts; dd if=/dev/zero of=/root/zeros bs=1M count=64 2>&1; sync; cat /sys/block/zram*/mm_stat")?;
            println!("{zram}");
            ensure!(zram.contains("67108864 bytes"), "{zram}");
            // mm_stat: bytes written, bytes that they take compressed, …
            let stat = zram.lines().rev().find(|l| l.split_whitespace().count() >= 8).unwrap_or_default();
            let takes: u64 = stat.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(u64::MAX);
            ensure!(takes < 16 << 20, "zeros of 64 MiB take {takes} bytes");
        }
        little_memory(&server.client(vm.mac())?)?;
    }
    Ok(())
}
