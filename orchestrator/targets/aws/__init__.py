"""AWS, through boto3 and nothing else. No error of its SDK leaves this room."""
