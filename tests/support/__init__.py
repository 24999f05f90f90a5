"""What tests share: small networks and videos, true frames made by hand, a Hub on this machine, processes to kill."""
