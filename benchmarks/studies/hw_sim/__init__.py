"""Time of ``hw_sim`` on ResNet-20's 19 convolutions, compared with its peers."""
