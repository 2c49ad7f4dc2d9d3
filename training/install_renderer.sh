#!/usr/bin/env bash
# Mesa from Debian's backports: SAPIEN renders without a GPU on lavapipe from Mesa 24.3 on, and Debian 12 ships 22.3.
# Run as root on Debian 12. Newer distributions carry a recent enough Mesa: there `apt-get install mesa-vulkan-drivers`.
set -euo pipefail

codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-unknown}")
if [ "$codename" != bookworm ]; then
    echo "this script is for Debian 12 (bookworm), found ${codename}" >&2
    exit 1
fi

# The mirror that the machine already uses has the backports too.
mirror=$(apt-get indextargets --format '$(SITE)' 'Codename: bookworm' 'Label: Debian' | head -n 1)
if [ -z "$mirror" ]; then
    echo "apt knows no mirror of Debian: set up /etc/apt/sources.list and run apt-get update first" >&2
    exit 1
fi

cat >/etc/apt/sources.list.d/bookworm-backports.sources <<SOURCES
Types: deb
URIs: ${mirror}
Suites: bookworm-backports
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
SOURCES
apt-get update
apt-get install --yes --no-install-recommends --target-release bookworm-backports mesa-vulkan-drivers
apt-get install --yes --no-install-recommends libvulkan1 libegl1 libgl1
