"""The AWS API of the lab: moto behind a layer that refuses what AWS refuses, and hosts that make EC2's state true."""
