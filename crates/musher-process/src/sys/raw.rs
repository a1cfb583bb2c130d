//! System calls that touch nothing of the C library, not even `errno`, for a child that shares its parent's memory and
//! with it the variables of the calling thread.

use std::ffi::{c_long, c_void};

/// What a child that shares our memory begins with, on its own stack.
pub(super) type Entry = unsafe extern "C" fn(*const c_void) -> !;

/// Whether a child can share our memory: that takes some lines of assembly.
pub(crate) const CAN_SHARE: bool = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));

/// One system call: what the kernel says, an error as a negative number.
///
/// # Safety
///
/// As the system call: addresses among the arguments have to be valid for it.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn call(number: c_long, args: [usize; 5]) -> isize {
    let mut result = number as isize;
    // SAFETY: the kernel's own convention; it changes nothing but rax, rcx and r11, and what the caller answers for.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") result,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result
}

/// The same for a call that makes a process, which calls `entry` with `data` on the stack that it was given.
///
/// # Safety
///
/// The arguments make a child with a stack of its own, aligned to 16 bytes, that is large enough for `entry` and not used
/// otherwise for as long as the child runs in this memory.
#[cfg(target_arch = "x86_64")]
pub(super) unsafe fn call_with_child(number: c_long, args: [usize; 5], entry: Entry, data: *const c_void) -> isize {
    let mut result = number as isize;
    // SAFETY: as above. The child has the registers of its parent, an empty stack, and never comes out of `entry`.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") result,
            in("rdi") args[0],
            in("rsi") args[1],
            in("rdx") args[2],
            in("r10") args[3],
            in("r8") args[4],
            in("r12") data,
            in("r13") entry,
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

/// One system call: what the kernel says, an error as a negative number.
///
/// # Safety
///
/// As the system call: addresses among the arguments have to be valid for it.
#[cfg(target_arch = "aarch64")]
pub(super) unsafe fn call(number: c_long, args: [usize; 5]) -> isize {
    let mut result = args[0] as isize;
    // SAFETY: the kernel's own convention; it changes nothing but x0, and what the caller answers for.
    unsafe {
        std::arch::asm!(
            "svc 0",
            in("x8") number,
            inlateout("x0") result,
            in("x1") args[1],
            in("x2") args[2],
            in("x3") args[3],
            in("x4") args[4],
            options(nostack),
        );
    }
    result
}

/// The same for a call that makes a process, which calls `entry` with `data` on the stack that it was given.
///
/// # Safety
///
/// The arguments make a child with a stack of its own, aligned to 16 bytes, that is large enough for `entry` and not used
/// otherwise for as long as the child runs in this memory.
#[cfg(target_arch = "aarch64")]
pub(super) unsafe fn call_with_child(number: c_long, args: [usize; 5], entry: Entry, data: *const c_void) -> isize {
    let mut result = args[0] as isize;
    // SAFETY: as above. The child has the registers of its parent, an empty stack, and never comes out of `entry`.
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x30, xzr",
            "mov x0, x20",
            "blr x21",
            "brk #1",
            "2:",
            in("x8") number,
            inlateout("x0") result,
            in("x1") args[1],
            in("x2") args[2],
            in("x3") args[3],
            in("x4") args[4],
            in("x20") data,
            in("x21") entry,
        );
    }
    result
}

/// One system call: what the kernel says, an error as a negative number.
///
/// # Safety
///
/// As the system call: addresses among the arguments have to be valid for it.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) unsafe fn call(number: c_long, args: [usize; 5]) -> isize {
    // SAFETY: `syscall` is safe to call in a child of a threaded program, which has its own copy of `errno`: nothing shares
    // memory here. The rest is the caller's.
    let result = unsafe { libc::syscall(number, args[0], args[1], args[2], args[3], args[4]) };
    if result >= 0 {
        return result as isize;
    }
    // SAFETY: the address of the calling thread's errno is always valid.
    -(unsafe { *libc::__errno_location() } as isize)
}

/// Nobody calls it: see [`CAN_SHARE`].
///
/// # Safety
///
/// None is needed.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
pub(super) unsafe fn call_with_child(_: c_long, _: [usize; 5], _: Entry, _: *const c_void) -> isize {
    -(libc::ENOSYS as isize)
}
