// SPDX-License-Identifier: GPL-3.0-or-later
//! Prints docs/kernel-parameters.md (`make docs`).

fn main() {
    print!("{}", bootspec::docs::kernel_parameters());
}
