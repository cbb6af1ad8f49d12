#!/bin/sh
# Makes the whole file system of the image: the programs given, the libraries they load, certificates, two users. Run by
# the Dockerfile, and by anybody who wants to see what is in it.
#
#   rootfs.sh DIRECTORY PROGRAM...
set -eu

root=$1
shift
mkdir -p "$root/usr/local/bin" "$root/etc/ssl/certs" "$root/etc/holdfast" "$root/tmp" "$root/var/lib/dpkg/status.d"
chmod 1777 "$root/tmp"

install_library() { # as it is called by programs, with what the link leads to
  [ -e "$root$1" ] && return
  mkdir -p "$root$(dirname "$1")"
  cp -L "$1" "$root$1"
  # Scanners read from here which package, hence which known holes, a file comes with.
  real=$(readlink -f "$1")
  package=$({ dpkg -S "$1" || dpkg -S "$real" || dpkg -S "${real#/usr}"; } 2>/dev/null | head -n 1 | cut -d: -f1)
  if [ -n "$package" ] && [ ! -e "$root/var/lib/dpkg/status.d/$package" ]; then
    dpkg -s "$package" > "$root/var/lib/dpkg/status.d/$package"
  fi
}

for program in "$@"; do
  install -m 0755 "$program" "$root/usr/local/bin/"
  # "libc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x...)", and the loader itself without an arrow.
  for library in $(ldd "$program" | sed -n 's/.*=> \(\/[^ ]*\) .*/\1/p; s/^[[:space:]]*\(\/[^ ]*\) (0x.*/\1/p'); do
    install_library "$library"
  done
done
# Looked up while running, so that ldd does not tell: names from /etc/hosts and DNS.
for library in libnss_files.so.2 libnss_dns.so.2 libresolv.so.2; do
  for folder in /lib/*-linux-gnu; do
    if [ -e "$folder/$library" ]; then install_library "$folder/$library"; fi
  done
done

cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
printf 'root:x:0:0:root:/:/nonexistent\nholdfast:x:10001:10001:holdfast:/:/nonexistent\n' > "$root/etc/passwd"
printf 'root:x:0:\nholdfast:x:10001:\n' > "$root/etc/group"
printf 'hosts: files dns\n' > "$root/etc/nsswitch.conf"
