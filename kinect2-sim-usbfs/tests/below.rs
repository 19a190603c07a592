//! Programs below the preloaded library: this binary again, with one of its ignored tests.

use kinect2::sysfs::Roots;
use kinect2::usbfs::{Device, Node, Urb};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use std::process::Command;

#[test]
fn a_node_is_an_edge_per_completion() {
    let lib = std::env::current_exe().unwrap().parent().unwrap().join("libkinect2_sim_usbfs.so");
    assert!(lib.exists(), "{lib:?}");
    let root = std::env::temp_dir().join(format!("kinect2-sim-{}", std::process::id()));
    let out = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored", "--nocapture"])
        .env("LD_PRELOAD", lib)
        .env("KINECT2_SIM_ROOT", &root)
        .output()
        .unwrap();
    println!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(out.status.success());
}

#[test]
#[ignore = "runs below the library"]
fn child() {
    let root = std::path::PathBuf::from(std::env::var_os("KINECT2_SIM_ROOT").unwrap());
    let roots = Roots { sys: root.join("sys"), dev: root.join("dev") };
    let bus = kinect2::sysfs::find(&roots).unwrap();
    println!("{bus:?}");
    let device = Device::open(&bus.sensors[0].node).unwrap();
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).unwrap();
    epoll.add(&device, EpollEvent::new(EpollFlags::EPOLLOUT | EpollFlags::EPOLLET, 7)).unwrap();
    device.set_interface(1, 1).unwrap();
    println!("{:?}", kinect2::sysfs::find(&roots).unwrap());
    let mut node = Node::new(device, 60);
    let mut urb = Urb::iso(0x84, 8, 33792);
    let mut events = [EpollEvent::empty(); 4];
    assert_eq!(epoll.wait(&mut events, EpollTimeout::ZERO).unwrap(), 0);
    for _ in 0..1000 {
        node.submit(urb).unwrap();
        assert_eq!(epoll.wait(&mut events, 1000u16).unwrap(), 1);
        assert_eq!(events[0].events(), EpollFlags::EPOLLOUT);
        urb = node.reap().unwrap().unwrap();
        assert!(node.reap().unwrap().is_none());
    }
}
