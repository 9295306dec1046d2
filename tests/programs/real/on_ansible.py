"""ansible: a play of three hosts, which are this machine, in two workers."""

import os
import sys
from pathlib import Path

PLAY = """\
- hosts: all
  gather_facts: false
  tasks:
    - shell: echo {{ inventory_hostname }}
      register: said
    - debug: var=said.stdout
    - fail: msg=no
      when: inventory_hostname == 'two'
    - set_fact: {known: 5}
    - copy: {content: "{{ known }}", dest: "{{ playbook_dir }}/{{ inventory_hostname }}.txt"}
"""
HOSTS = """\
[all]
one
two
three
[all:vars]
ansible_connection=local
"""

if __name__ == "__main__":
    Path("play.yml").write_text(PLAY)
    Path("hosts").write_text(HOSTS)
    os.environ |= {
        "ANSIBLE_HOME": os.path.abspath("home"),
        "ANSIBLE_LOCAL_TEMP": os.path.abspath("temp"),
        "ANSIBLE_REMOTE_TMP": os.path.abspath("there"),
        "ANSIBLE_NOCOLOR": "1",
        "ANSIBLE_PYTHON_INTERPRETER": sys.executable,
        "LC_ALL": "C.UTF-8",
    }
    from ansible.cli.playbook import main

    main(["ansible-playbook", "-i", "hosts", "-f", "2", "play.yml"])
