variable "base" {}
variable "key" {}

source "qemu" "lab" {
  accelerator          = "tcg"
  disk_image           = true
  iso_url              = var.base
  iso_checksum         = "none"
  skip_resize_disk     = true
  format               = "qcow2"
  memory               = 1024
  net_device           = "virtio-net"
  headless             = true
  ssh_username         = "root"
  ssh_private_key_file = var.key
  ssh_timeout          = "20m"
  shutdown_command     = "poweroff"
  output_directory     = "packer"
  vm_name              = "disk.qcow2"
}

build {
  sources = ["source.qemu.lab"]
  provisioner "shell" {
    inline = [
      "echo 'root:fai' | chpasswd",
      "echo packer > /etc/made-by",
      # What only Packer needed.
      "rm -r /root/.ssh /etc/ssh/ssh_host_*",
    ]
  }
}
